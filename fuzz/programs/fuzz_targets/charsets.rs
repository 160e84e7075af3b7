#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coffre_fuzz::body("charsets").expect("a target")(data));
