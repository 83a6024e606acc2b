//! ONNX models: what scikit-learn's pipelines, gradient boosting and small networks are exported to, evaluated here.

mod model;
mod ops;
pub mod tensor;
mod wire;

pub use model::{Model, Port, within};
