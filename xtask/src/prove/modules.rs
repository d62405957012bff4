//! A kernel's modules: names in, their contents out in the order in which they can be loaded. Debian's packages have no
//! `modules.dep` (that is made where they are installed), so each module's own word is taken on what it depends on.
//! Called by `kernels`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process::{self, command};

/// The modules of one kernel.
#[derive(Debug, Default)]
pub struct Modules {
    /// By [name](key).
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// A module that is to be loaded.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// The file, unpacked.
    pub content: Vec<u8>,
}

impl Modules {
    /// Those in the folder of a release.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of(release: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut folders = vec![release.join("kernel")];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = name(&path) {
                    files.insert(name, path);
                }
            }
        }
        let list = release.join("modules.builtin");
        let text = std::fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        Ok(Self { files, built_in: text.lines().filter_map(|line| name(Path::new(line))).collect() })
    }

    /// Appends a module to what is to be loaded, behind those that it depends on. Nothing, if the kernel has it built in.
    ///
    /// # Errors
    /// The kernel has no such module, or it can't be read.
    pub fn load(&self, wanted: &str, order: &mut Vec<Module>) -> Result<()> {
        let name = key(wanted);
        if self.built_in.contains(&name) || order.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(file) = self.files.get(&name) else { bail!("this kernel has no module {wanted}") };
        let content = unpacked(file)?;
        for needed in dependencies(&content) {
            self.load(&needed, order)?;
        }
        order.push(Module { name, content });
        Ok(())
    }
}

/// A module's name, in which `-` and `_` are the same.
fn key(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of a module's file, packed or not; none: it is no module.
fn name(file: &Path) -> Option<String> {
    let file = file.file_name()?.to_str()?;
    file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz")).map(key)
}

/// What a module says that it depends on (`depends=` in its section .modinfo, whose strings end with NUL).
fn dependencies(content: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = content.windows(FIELD.len()).position(|window| window == FIELD) else { return Vec::new() };
    let list = content[at + FIELD.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(list).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "ko") {
        return std::fs::read(file).with_context(|| format!("reading {}", file.display()));
    }
    let mut unpack = command("xz", &["--decompress", "--stdout"]);
    let output = unpack.arg(file).output().context("cannot start `xz`: install xz-utils")?;
    if !output.status.success() {
        bail!("`{}`: {}", process::show(&unpack), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::{Module, Modules, dependencies};

    #[test]
    fn a_module_is_loaded_once_behind_what_it_depends_on_unless_that_is_built_in() {
        let folder = std::env::temp_dir().join(format!("egm-{}-modules", std::process::id()));
        let of = |depends: &str| format!("ELF\0license=GPL\0depends={depends}\0name=x\0").into_bytes();
        std::fs::create_dir_all(folder.join("kernel/net")).unwrap();
        for (file, depends) in [
            ("net/wireguard.ko", "udp_tunnel,libchacha"),
            ("net/udp-tunnel.ko", "tunnels"),
            ("tunnels.ko", ""),
            ("vrf.ko", "tunnels,gone"),
        ] {
            std::fs::write(folder.join("kernel").join(file), of(depends)).unwrap();
        }
        std::fs::write(folder.join("modules.builtin"), "kernel/lib/libchacha.ko\n").unwrap();
        let modules = Modules::of(&folder).unwrap();
        let mut order = Vec::new();
        for name in ["tunnels", "wireguard", "libchacha"] {
            modules.load(name, &mut order).unwrap();
        }
        let names: Vec<&str> = order.iter().map(|Module { name, .. }| name.as_str()).collect();
        assert_eq!(names, ["tunnels", "udp_tunnel", "wireguard"]);
        assert_eq!(modules.load("vrf", &mut order).unwrap_err().to_string(), "this kernel has no module gone");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_a_module_depends_on_is_read_from_its_own_word() {
        assert_eq!(dependencies(b"x\0depends=a,b-c\0intree=Y\0"), ["a", "b-c"]);
        assert_eq!(dependencies(b"x\0depends=\0intree=Y\0"), [""; 0]);
        assert_eq!(dependencies(b"nothing depends=here"), [""; 0]);
    }
}
