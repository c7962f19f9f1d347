//! Writes the inputs that fuzzing begins from: `cargo run --example seeds` in this folder fills `corpus/NAME/`.

fn main() -> std::io::Result<()> {
    for (name, _) in headend_fuzz::TARGETS {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        std::fs::create_dir_all(&dir)?;
        for (index, seed) in headend_fuzz::seeds(name).iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{index}")), seed)?;
        }
    }
    Ok(())
}
