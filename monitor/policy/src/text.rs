//! Numbers, sizes, times and other people's text, formatted for people.

/// Whether a terminal does something else with it than to show it: a control character, an end of line, what turns text
/// around (UAX 9), and what is there unseen.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The same, or a joiner: it has its place in the words of some languages, and none in a name.
pub fn is_hidden(c: char) -> bool {
    is_unsafe(c) || matches!(c, '\u{200c}' | '\u{200d}')
}

/// The text without what [is unsafe](is_unsafe): interface names, rule ids and file names are other people's text.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

/// JSON in which what [is unsafe](is_unsafe) is escaped, but for the ends of its lines: a terminal may be what reads it.
pub fn escaped_json(json: String) -> String {
    let raw = |c: char| c != '\n' && is_unsafe(c);
    if !json.chars().any(raw) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if raw(c) {
            // It can only stand in a string there.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped += &format!("\\u{unit:04x}"));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Other people's text cut to what fits in a message; quote it with `{:?}`, which escapes it.
pub fn excerpt(value: &str) -> String {
    const LONGEST: usize = 60;
    if value.chars().count() <= LONGEST {
        value.into()
    } else {
        value.chars().take(LONGEST).chain("…".chars()).collect()
    }
}

/// The lines of a file with their numbers, from 1, without a byte order mark. A line ends at LF, at CR LF, and at CR alone,
/// as some spreadsheets write it: a reader that runs on there takes the first entry and loses the rest.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = Some(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    (1..).map_while(move |number| {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return Some((number, text));
        };
        let ending = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[end + ending..]);
        Some((number, &text[..end]))
    })
}

/// Lower-case hexadecimal, as digests and ids are written everywhere.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A number with its thousands grouped: `1,234,567`.
pub fn count(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun: `1 rule`, `1,234 rules`.
pub fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number as u128), if number == 1 { "" } else { "s" })
}

/// Bytes in binary units, cut to one decimal: `1.2 MiB`; exact below 1 KiB.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(6);
    // Two powers of ten are enough for one decimal: no rounding of u64 into f64 that shows.
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

/// Seconds in the two largest units that they reach: `3 d 4 h`, `5 min 6 s`. Negative ones are 0.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match () {
        () if days > 0 => format!("{days} d {hours} h"),
        () if hours > 0 => format!("{hours} h {minutes} min"),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

/// How long ago a time was (RFC 3339) at `now` (UTC nanoseconds since 1970); the text itself where it is no time.
pub fn age(at: &str, now: i128) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => format!("{} ago", span(i64::try_from((now - at.as_nanosecond()) / 1_000_000_000).unwrap_or(0))),
        Err(_) => at.to_owned(),
    }
}

/// Seconds in the largest unit that they reach, for tables: `8s`, `59m`, `23h`, `7d`, `2y` (of 365 days). Negative ones are 0.
pub fn brief(seconds: i64) -> String {
    match seconds.max(0) {
        seconds if seconds >= 31_536_000 => format!("{}y", seconds / 31_536_000),
        seconds if seconds >= 86_400 => format!("{}d", seconds / 86_400),
        seconds if seconds >= 3_600 => format!("{}h", seconds / 3_600),
        seconds if seconds >= 60 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// When a time is (RFC 3339) at `now`, for tables: `8s ago`, `in 7d`; the text itself where it is no time.
pub fn when(at: &str, now: i128) -> String {
    let Ok(at) = at.parse::<jiff::Timestamp>() else { return at.to_owned() };
    let ahead = at.as_nanosecond() - now;
    let seconds = i64::try_from(ahead.abs() / 1_000_000_000).unwrap_or(i64::MAX);
    if ahead > 0 { format!("in {}", brief(seconds)) } else { format!("{} ago", brief(seconds)) }
}

/// Seconds since 1970 as RFC 3339 in UTC; the number itself where the calendar has no such time.
pub fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_turns_text_around_or_hides_in_it_is_shown() {
        let hostile =
            ['\u{0}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{200f}', '\u{202e}', '\u{2069}', '\u{e0041}'];
        for c in hostile {
            let text = format!("a{c}b");
            assert!(is_unsafe(c) && is_hidden(c), "{c:?}");
            assert_eq!(plain(&text), "a\u{fffd}b");
            let json = escaped_json(serde_json::to_string(&text).unwrap());
            assert!(!json.chars().any(is_unsafe), "{json:?}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
        for (c, hidden) in [('ß', false), ('北', false), ('\u{627}', false), (' ', false), ('\u{200d}', true)] {
            assert_eq!((is_unsafe(c), is_hidden(c)), (false, hidden), "{c:?}");
        }
        assert_eq!(escaped_json("{\n  \"a\": 1\n}\n".into()), "{\n  \"a\": 1\n}\n");
    }

    #[test]
    fn a_line_ends_at_each_kind_of_line_end_once() {
        let of = |text: &str| -> Vec<(usize, String)> {
            lines(text.as_bytes()).map(|(number, line)| (number, String::from_utf8_lossy(line).into_owned())).collect()
        };
        let expected: Vec<_> = [(1, "a"), (2, "b"), (3, ""), (4, "c"), (5, "")].map(|(n, l)| (n, l.to_owned())).into();
        for end in ["\n", "\r\n", "\r"] {
            assert_eq!(of(&format!("\u{feff}a{end}b{end}{end}c{end}")), expected, "{end:?}");
        }
        assert_eq!(of("a\rb\n\r\nc\r"), expected);
        assert_eq!(of(""), [(1, String::new())]);
    }

    #[test]
    fn numbers_are_readable_and_sizes_exact_where_they_can_be() {
        assert_eq!([0_u64, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 1_000].map(|n| counted(n, "rule")), ["0 rules", "1 rule", "1,000 rules"]);
        assert_eq!(
            [0, 1_023, 1_024, 1_536, 1_048_575, 1 << 20, u64::MAX].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "15.9 EiB"]
        );
        assert_eq!([-5, 59, 61, 3_700, 100_000].map(span), ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 3 h"]);
        assert_eq!([0, i64::MAX].map(time), ["1970-01-01T00:00:00Z", "9223372036854775807"]);
    }

    #[test]
    fn a_time_in_a_table_has_one_unit() {
        let at = |at: &str| when(at, 100_000 * 1_000_000_000);
        for (time, shown) in [
            ("1970-01-02T03:46:39Z", "1s ago"),
            ("1970-01-02T03:46:40Z", "0s ago"),
            ("1970-01-02T03:45:40Z", "1m ago"),
            ("1970-01-02T02:46:40Z", "1h ago"),
            ("1970-01-01T00:00:00Z", "1d ago"),
            ("1970-01-02T03:47:39Z", "in 59s"),
            ("1970-02-01T03:46:40Z", "in 30d"),
            ("1972-01-02T03:46:40Z", "in 2y"),
            ("soon", "soon"),
        ] {
            assert_eq!(at(time), shown, "{time}");
        }
    }
}
