//! Jobs: long work over a store or a file, in committed shards, so that a killed job resumes.

pub mod embed_file;
pub mod embed_store;
