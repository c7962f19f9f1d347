#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| headend_fuzz::aac_messages(data));
