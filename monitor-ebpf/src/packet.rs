//! The one place that reads packet memory.

use core::arch::asm;

use aya_ebpf::bindings::__sk_buff;
use monitor_common::parse::{Bytes, Window};

/// Headers are read at offsets up to here. A power of two less one, and far below the verifier's own limit of 64 KiB.
pub const MAX_OFFSET: u32 = 0x7fff;

/// The linear part of a packet, from the link header on.
#[derive(Clone, Copy)]
pub struct Frame {
    data: usize,
    end: usize,
}

impl Frame {
    /// The linear part as it is now; a pull invalidates it.
    #[inline(always)]
    pub fn of(skb: &__sk_buff) -> Self {
        Self { data: skb.data as usize, end: skb.data_end as usize }
    }

    /// Whether not all of the packet's `length` bytes are linear.
    #[inline(always)]
    pub fn missing(self, length: u32) -> bool {
        (self.end - self.data) < length as usize
    }

    /// The address of the byte at `offset`, at most [`MAX_OFFSET`].
    #[inline(always)]
    fn at(self, offset: u32) -> usize {
        let mut start = offset as usize;
        // SAFETY: arithmetic on registers: `start = self.data + offset`, and the mask changes nothing, as the caller says.
        // Both are hidden from the compiler, for two reasons. It cannot compute `start` and the caller's check of the end in
        // two registers, of which the verifier proves only the one that was compared. And where `offset` lives on the
        // stack, a check bounds one copy of it and the sum uses another: before kernel 6.8 the verifier does not know that
        // they are the same, so the copy in use is bounded by itself.
        unsafe {
            asm!("{0} &= {2}", "{0} += {1}", inout(reg) start, in(reg) self.data, const MAX_OFFSET,
                options(pure, nomem, nostack, preserves_flags));
        };
        start
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> Option<T> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.at(offset);
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: within the packet by the check above, which the verifier proves again. Packet memory has no
        // alignment; the target's loads need none.
        Some(unsafe { *(start as *const T) })
    }
}

/// The beginning of a packet's linear part, as far as it was checked.
#[derive(Clone, Copy)]
pub struct Checked(usize);

impl Checked {
    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the parser reads within what was checked, or the verifier refuses the program. Alignment as above.
        unsafe { *((self.0 + offset as usize) as *const T) }
    }
}

impl Window for Checked {
    #[inline(always)]
    fn u8(self, offset: u32) -> u8 {
        self.read(offset)
    }
    #[inline(always)]
    fn be16(self, offset: u32) -> u16 {
        u16::from_be(self.read(offset))
    }
    #[inline(always)]
    fn raw16(self, offset: u32) -> u16 {
        self.read(offset)
    }
    #[inline(always)]
    fn raw32(self, offset: u32) -> u32 {
        self.read(offset)
    }
    #[inline(always)]
    fn raw64(self, offset: u32) -> u64 {
        self.read(offset)
    }
}

impl Bytes for Frame {
    type Window = Checked;
    #[inline(always)]
    fn window<const LENGTH: u32>(self, offset: u32) -> Option<Checked> {
        let start = self.at(offset);
        (start + LENGTH as usize <= self.end).then_some(Checked(start))
    }
    #[inline(always)]
    fn u8(self, offset: u32) -> Option<u8> {
        self.read(offset)
    }
    #[inline(always)]
    fn be16(self, offset: u32) -> Option<u16> {
        self.read(offset).map(u16::from_be)
    }
    #[inline(always)]
    fn be32(self, offset: u32) -> Option<u32> {
        self.read(offset).map(u32::from_be)
    }
    #[inline(always)]
    fn be64(self, offset: u32) -> Option<u64> {
        self.read(offset).map(u64::from_be)
    }
    #[inline(always)]
    fn index(self, number: u32, mask: usize) -> usize {
        let mut index = number as usize;
        // SAFETY: arithmetic on registers.
        unsafe { asm!("{0} &= {1}", inout(reg) index, in(reg) mask, options(pure, nomem, nostack, preserves_flags)) };
        index
    }
}
