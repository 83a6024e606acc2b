//! The router process: splits traffic by weight and measures it.
