//! TOML text to typed specs with positions, and specs to the desired state. Pure.
