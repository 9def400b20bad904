#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct DataError;
impl DataError { pub fn hint(&self)->Option<String>{None} }
