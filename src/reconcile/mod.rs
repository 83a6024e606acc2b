//! The loop: queue, observe, plan, execute.
