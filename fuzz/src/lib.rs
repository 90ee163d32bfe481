//! What the fuzz targets check, without libFuzzer, so that a plain test replays the seeds.

#![forbid(unsafe_code)]

pub mod codec;
pub mod file_name;
mod input;
pub mod open_any_folder;
pub mod operations_vs_model;
pub mod salvage_any_folder;
pub mod scan;
mod store;
pub mod torn_writes;

/// Every target by its name.
pub const TARGETS: [(&str, fn(&[u8])); 7] = [
    ("codec", codec::run),
    ("file_name", file_name::run),
    ("open_any_folder", open_any_folder::run),
    ("operations_vs_model", operations_vs_model::run),
    ("salvage_any_folder", salvage_any_folder::run),
    ("scan", scan::run),
    ("torn_writes", torn_writes::run),
];
