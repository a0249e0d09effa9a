//! Prints the public items of a crate, one a line, by the JSON that rustdoc writes of it.

fn main() {
    let path = std::env::args_os().nth(1).expect("the path of the JSON");
    let api = public_api::Builder::from_rustdoc_json(path)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap_or_else(|error| panic!("the compiler's JSON is of another version: {error}"));
    for item in api.items() {
        println!("{item}");
    }
}
