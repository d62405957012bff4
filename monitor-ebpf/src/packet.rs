//! The one place that reads packet memory.

use core::arch::asm;

use aya_ebpf::programs::TcContext;
use monitor_common::parse::Bytes;

/// Headers are looked for at offsets up to here: link header, tags, and eight extension headers of 2 KiB. A power
/// of two less one, and far below the verifier's own limit of 64 KiB.
const MAX_OFFSET: usize = 0x7fff;

/// The linear part of a packet, from the link header on.
#[derive(Clone, Copy)]
pub struct Frame {
    data: usize,
    end: usize,
    /// Map memory, about whose content the verifier assumes nothing.
    cell: *mut u64,
}

impl Frame {
    /// The linear part as it is now; every pull makes it stale. `cell` is live map memory of this CPU.
    #[inline(always)]
    pub fn of(context: &TcContext, cell: *mut u64) -> Self {
        Self { data: context.data(), end: context.data_end(), cell }
    }

    /// Bytes that are not linear.
    #[inline(always)]
    pub fn missing(self, length: u32) -> bool {
        (self.end - self.data) < length as usize
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: usize) -> Option<T> {
        if offset > MAX_OFFSET {
            return None;
        }
        let mut start = offset;
        // SAFETY: arithmetic on registers: `start = self.data + offset`, and the mask changes nothing after the check
        // above. Both are done where the compiler can't look, for two reasons. It keeps it from working out `start` and
        // the check below in two registers: the verifier proves only the very register that was compared. And where
        // `offset` lives on the stack, the check above bounds one copy of it and the sum takes another: before kernel
        // 6.8 the verifier does not know that they are the same, so the copy that is used is bounded by itself.
        unsafe {
            asm!("{0} &= {2}", "{0} += {1}", inout(reg) start, in(reg) self.data, const MAX_OFFSET,
                options(pure, nomem, nostack, preserves_flags));
        };
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: within the packet by the check above, which the verifier proves again. Packet memory has no
        // alignment; the target's loads need none.
        Some(unsafe { *(start as *const T) })
    }
}

impl Bytes for Frame {
    #[inline(always)]
    fn u8(self, offset: usize) -> Option<u8> {
        self.read(offset)
    }
    #[inline(always)]
    fn be16(self, offset: usize) -> Option<u16> {
        self.read(offset).map(u16::from_be)
    }
    #[inline(always)]
    fn be32(self, offset: usize) -> Option<u32> {
        self.read(offset).map(u32::from_be)
    }
    #[inline(always)]
    fn be64(self, offset: usize) -> Option<u64> {
        self.read(offset).map(u64::from_be)
    }
    #[inline(always)]
    fn forget(self, offset: usize) -> usize {
        // SAFETY: live map memory, see `of`. Volatile, or the compiler would know that it reads what it wrote.
        let forgotten = unsafe {
            self.cell.write_volatile(offset as u64);
            self.cell.read_volatile()
        };
        forgotten as usize & MAX_OFFSET
    }
}
