//! An image at a moment: what the kernel would find then. Used by `explain`, `diff` and the shadow policy, which must not
//! change the image that others read.

use monitor_common::{
    classify::{Tables, build::Image},
    wire::{ClassRow, Node, RuleRow, V6Low},
};

/// An image with a clock of its own.
pub struct ImageAt<'a> {
    /// The image.
    pub image: &'a Image,
    /// CLOCK_BOOTTIME in nanoseconds: rules hold by it.
    pub boot_ns: u64,
}

impl Tables for ImageAt<'_> {
    fn v4_cell(&self, number: u32) -> Option<u32> {
        self.image.v4_cell(number)
    }
    fn v4_node(&self, index: u32) -> Option<&Node> {
        self.image.v4_node(index)
    }
    fn v6_cell(&self, number: u32) -> Option<u32> {
        self.image.v6_cell(number)
    }
    fn v6_node(&self, index: u32) -> Option<&Node> {
        self.image.v6_node(index)
    }
    fn v6_low(&self, index: u32) -> Option<&V6Low> {
        self.image.v6_low(index)
    }
    fn class_row(&self, class_id: u32) -> Option<&ClassRow> {
        self.image.class_row(class_id)
    }
    fn rule_row(&self, index: u32) -> Option<&RuleRow> {
        self.image.rule_row(index)
    }
    fn boot_ns(&self) -> u64 {
        self.boot_ns
    }
    fn local_class(&self) -> u32 {
        self.image.local_class()
    }
    fn opaque_denied(&self) -> u32 {
        self.image.opaque_denied()
    }
}
