//! What the overlays promise.
