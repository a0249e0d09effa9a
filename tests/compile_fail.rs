//! What must not compile.

#[test]
fn s08_s09_what_must_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
