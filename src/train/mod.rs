//! The local executor: pipelines of stages, Python environments, run folders.
