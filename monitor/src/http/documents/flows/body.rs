//! A [`Page`] in, its text out, piece by piece as whoever asked reads. A hundred thousand rows are seventy megabytes of text,
//! of which one piece is in memory.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame};

use super::{Page, Rows};

/// Text that is made at once, and a row more.
pub(super) const PIECE: usize = 64 * 1024;

/// A page on its way: what comes before the rows, the rows, what comes after.
pub struct PageBody {
    page: Page,
    /// What comes next, beside the rows from `row` on.
    next: Vec<u8>,
    row: usize,
    after: Vec<u8>,
}

impl PageBody {
    pub(super) fn of(page: Page) -> serde_json::Result<Self> {
        let rows = match page.rows {
            Rows::Flows(_) => "\"flows\":[",
            Rows::Groups(_) => "\"groups\":[",
        };
        let mut before = serde_json::to_vec(&page.frame)?;
        // Quotes within a text have a backslash before them: only the field itself is written so.
        let at = before.windows(rows.len()).position(|found| found == rows.as_bytes());
        let after = before.split_off(at.map_or(before.len(), |at| at + rows.len()));
        Ok(Self { page, next: before, row: 0, after })
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<serde_json::Result<Frame<Bytes>>>> {
        let own = self.get_mut();
        let mut piece = std::mem::take(&mut own.next);
        while own.row < own.page.rows.len() && piece.len() < PIECE {
            if own.row > 0 {
                piece.push(b',');
            }
            if let Err(error) = own.page.write(own.row, &mut piece) {
                return Poll::Ready(Some(Err(error)));
            }
            own.row += 1;
        }
        if own.row == own.page.rows.len() {
            piece.append(&mut own.after);
        }
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece.into()))))
    }
}
