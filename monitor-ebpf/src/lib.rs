//! Empty: gives `monitor` a build-dependency, so that cargo rebuilds the object when monitor-common changes.

#![no_std]
