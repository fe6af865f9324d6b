//! Links the small program to a fixed place where that saves its start the relocations. It must never
//! touch how the runtime itself, which listens to a network, is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-bin=clawproof-contain=-no-pie");
    }
}
