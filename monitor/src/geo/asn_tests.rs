//! What the AS datasets promise.
