#![no_std]
//! Empty: gives `monitor` a build-dependency that cargo watches.
