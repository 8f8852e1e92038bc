use super::*;

pub(crate) use super::{PACKAGE, pool};

mod written;
