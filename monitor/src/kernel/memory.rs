//! How much memory the kernel part's maps take: `/proc/self/fdinfo` in, bytes out. Called when the monitor starts.

use std::collections::BTreeMap;

/// Bytes of all maps that this process has open, each once; 0 where /proc does not say.
pub fn of_maps() -> u64 {
    let Ok(files) = std::fs::read_dir("/proc/self/fdinfo") else { return 0 };
    let texts = files.flatten().filter_map(|file| std::fs::read_to_string(file.path()).ok());
    let maps: BTreeMap<u64, u64> = texts.filter_map(|text| map(&text)).collect();
    maps.values().sum()
}

/// Id and bytes of a map from its file descriptor's lines (`bpf_map_show_fdinfo`; the id since kernel 4.19; bytes are
/// exact since 6.4, before that rounded up to pages).
fn map(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<u64>().ok())
    };
    Some((field("map_id")?, field("memlock")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_told_from_other_descriptors() {
        let array = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1057\nmap_type:\t2\nkey_size:\t4\nvalue_size:\t8\n\
            max_entries:\t1\nmap_flags:\t0x400\nmap_extra:\t0x0\nmemlock:\t8192\nmap_id:\t42\nfrozen:\t0\n";
        assert_eq!(map(array), Some((42, 8192)));
        assert_eq!(map("pos:\t0\nflags:\t02\nprog_type:\t3\nmemlock:\t4096\nprog_id:\t7\n"), None);
    }
}
