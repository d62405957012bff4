//! One line of a segment: a JSON object that says its own sequence and time, and whose last member, in `unmapped`, is a
//! CRC-32C over all bytes before it. Bytes in, bytes out; no file.

use serde::Deserialize;

/// What stands before the checksum's digits, and what stands after them.
const HEAD: &[u8] = b"\"crc32c\":\"";
const TAIL: &[u8] = b"\"}}";
const DIGITS: usize = 8;

/// What a line says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its number, from 1 on.
    pub sequence: u64,
    /// Milliseconds since 1970 of what it tells.
    pub time: i64,
}

/// The line, with its end, of a JSON object whose last member is an object: there the checksum is added. `None`: it has
/// no such member, or an end of line in it.
pub fn seal(json: &str) -> Option<Vec<u8>> {
    let open = json.strip_suffix("}}")?;
    if json.contains('\n') {
        return None;
    }
    let mut line = Vec::with_capacity(json.len() + 24);
    line.extend_from_slice(open.as_bytes());
    if !open.ends_with('{') {
        line.push(b',');
    }
    let sum = crc32c(&line);
    line.extend_from_slice(HEAD);
    line.extend_from_slice(format!("{sum:08x}").as_bytes());
    line.extend_from_slice(TAIL);
    line.push(b'\n');
    Some(line)
}

/// What a line (without its end) says of itself, if it is whole.
pub fn whole(line: &[u8]) -> Option<Stamp> {
    #[derive(Deserialize)]
    struct Metadata {
        sequence: u64,
    }
    #[derive(Deserialize)]
    struct Document {
        metadata: Metadata,
        time: i64,
    }
    let rest = line.strip_suffix(TAIL)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let summed = rest.strip_suffix(HEAD)?;
    // One form only: what is decoded encodes to the same bytes.
    if digits != format!("{:08x}", crc32c(summed)).as_bytes() {
        return None;
    }
    let Document { metadata: Metadata { sequence }, time } = serde_json::from_slice(line).ok()?;
    Some(Stamp { sequence, time })
}

/// CRC-32C (RFC 3720, appendix B.4).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let (mut value, mut bit) = (at as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |sum, byte| (sum >> 8) ^ TABLE[usize::from(sum as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_sealed_line_is_whole_and_one_with_any_byte_changed_or_missing_is_not() {
        let json = r#"{"metadata":{"sequence":7},"time":5,"unmapped":{"a":1}}"#;
        let line = seal(json).unwrap();
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(text.starts_with(r#"{"metadata":{"sequence":7},"time":5,"unmapped":{"a":1,"crc32c":""#), "{text}");
        assert!(text.ends_with("\"}}\n"));
        let line = &line[..line.len() - 1];
        assert_eq!(whole(line), Some(Stamp { sequence: 7, time: 5 }));
        assert!(serde_json::from_slice::<serde_json::Value>(line).unwrap()["unmapped"]["crc32c"].is_string());
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert_eq!(whole(&changed), None, "byte {at}");
            assert_eq!(whole(&line[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn an_empty_last_member_gets_the_checksum_alone_and_what_has_none_is_refused() {
        let line = seal(r#"{"metadata":{"sequence":1},"time":0,"unmapped":{}}"#).unwrap();
        assert!(whole(&line[..line.len() - 1]).is_some());
        for json in ["{}", r#"{"a":1}"#, "", "{\"a\":{\"b\":1\n}}"] {
            assert_eq!(seal(json), None, "{json}");
        }
    }
}
