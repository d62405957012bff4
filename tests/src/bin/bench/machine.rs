//! The machine that a run was made on: read from /proc and /sys, printed above every table.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

/// What figures depend on.
#[derive(Clone, Debug)]
pub struct Machine {
    cpu: String,
    cores: usize,
    hypervisor: bool,
    kernel: String,
    mitigations: Vec<String>,
    jit: String,
    hz: u32,
    memory_mib: u64,
    load: String,
    seconds: u64,
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// `key   : value` of /proc/cpuinfo and /proc/meminfo.
fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

impl Machine {
    /// Reads it. `hz` is the kernel part's measurement.
    pub fn read(hz: u32) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kibibytes: u64 = memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let cpu = field(&cpuinfo, "model name").or_else(|| field(&cpuinfo, "CPU implementer"));
        let model = field(&cpuinfo, "model").map_or_else(String::new, |model| {
            format!(" (family {}, model {model})", field(&cpuinfo, "cpu family").unwrap_or_default())
        });
        let jit = match read("/proc/sys/net/core/bpf_jit_enable").as_str() {
            "0" => "off".to_owned(),
            "" => "unknown".to_owned(),
            _ => match read("/proc/sys/net/core/bpf_jit_harden").as_str() {
                "" | "0" => "on".to_owned(),
                harden => format!("on, hardened ({harden})"),
            },
        };
        Self {
            cpu: cpu.map_or_else(|| "unknown".into(), |name| name + &model),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            hypervisor: field(&cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor")),
            kernel: read("/proc/sys/kernel/osrelease"),
            mitigations: mitigations(),
            jit,
            hz,
            memory_mib: kibibytes / 1024,
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        format!(
            "{}, {} core{}{}, {} MiB; kernel {}, HZ {}, JIT {}; mitigations: {}; load average before: {}",
            self.cpu,
            self.cores,
            if self.cores == 1 { "" } else { "s" },
            if self.hypervisor { ", virtual" } else { "" },
            self.memory_mib,
            self.kernel,
            self.hz,
            self.jit,
            self.mitigations(),
            self.load,
        )
    }

    /// Without what comes after the first part of each.
    fn mitigations(&self) -> String {
        let short = |text: &String| text.split(';').next().unwrap_or_default().to_owned();
        match self.mitigations.as_slice() {
            [] => "none".into(),
            some => some.iter().map(short).collect::<Vec<_>>().join("; "),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "virtual": self.hypervisor,
            "kernel": self.kernel,
            "mitigations": self.mitigations,
            "jit": self.jit,
            "hz": self.hz,
            "memory_mib": self.memory_mib,
            "load_average_before": self.load,
            "time": self.seconds,
        })
    }
}

/// What the kernel does about this CPU's defects: `spectre_v2: Mitigation: …`.
fn mitigations() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let text = read(entry.path());
            let name = entry.file_name().into_string().ok()?;
            (text != "Not affected").then(|| format!("{name}: {}", text.trim_start_matches("Mitigation: ")))
        })
        .collect();
    found.sort();
    found
}
