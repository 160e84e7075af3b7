#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coffre_fuzz::body("filters").expect("a target")(data));
