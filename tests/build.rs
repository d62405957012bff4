//! Tells the benchmark where monitor/build.rs has put its object.

const OBJECT: &str = "DEP_EGRESS_MONITOR_BENCH_OBJECT";

fn main() {
    let object = std::env::var(OBJECT).expect("monitor/build.rs says where the benchmark's object is");
    assert!(
        std::path::Path::new(&object).is_file(),
        "{object} is missing: monitor-ebpf has two programs, and EGRESS_MONITOR_EBPF_OBJECT needs both in one folder"
    );
    println!("cargo:rerun-if-changed={object}");
    println!("cargo:rustc-env=BENCH_OBJECT={object}");
}
