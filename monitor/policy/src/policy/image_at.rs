//! An image at a moment: what the kernel would find then. Used by `explain`, `diff` and the shadow policy, which must not
//! change the image that others read.

use std::cell::Cell;

use monitor_common::{
    classify::{Tables, build::Image},
    wire::{ClassRow, Node, RuleRow, V6Low},
};

/// An image with a clock of its own.
pub struct ImageAt<'a, C = u64> {
    /// The image.
    pub image: &'a Image,
    /// CLOCK_BOOTTIME in nanoseconds: rules hold by it.
    pub boot_ns: C,
}

/// What rules with a time hold by.
pub trait BootClock {
    /// Nanoseconds.
    fn boot_ns(&self) -> u64;
}

impl BootClock for u64 {
    fn boot_ns(&self) -> u64 {
        *self
    }
}

/// A clock that notes whether it was asked: if not, what the image says is so at any time.
#[derive(Debug, Default)]
pub struct Asked(Cell<bool>);

impl Asked {
    /// Whether it was.
    #[must_use]
    pub const fn was(&self) -> bool {
        self.0.get()
    }
}

impl BootClock for Asked {
    fn boot_ns(&self) -> u64 {
        self.0.set(true);
        0
    }
}

impl<C: BootClock> Tables for ImageAt<'_, C> {
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
        self.boot_ns.boot_ns()
    }
    fn local_class(&self) -> u32 {
        self.image.local_class()
    }
    fn opaque_denied(&self) -> u32 {
        self.image.opaque_denied()
    }
}
