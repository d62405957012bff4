//! Promise: the kernel and the host make the same of the same packet.

use std::sync::Arc;

use egress_monitor::{
    kernel::{Kernel, Options},
    policy::Policy,
};
use monitor_common::{classify::build::Image, wire::ClassRow};

#[test]
fn loads() {
    let classes = vec![ClassRow::default(); 4];
    let image = Image::build(&[(0, 1)], &[(0, 2)], classes, vec![]).unwrap();
    let policy = Arc::new(Policy { image, ..Policy::default() });
    let mut kernel =
        Kernel::load(Options { flows: 1024, enforce: false, drop_unparsed: false, log_level: 0 }, policy).unwrap();
    let d = kernel.flip().unwrap();
    println!("{d:?}");
}
