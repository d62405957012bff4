//! A crate's root file in, the paths that its sources name out: each with the module that names it. Only tokens are
//! read: what a macro makes of them, and names that a glob brings in, are not seen. What is compiled for tests alone is
//! left out. Called by `rooms`.

use std::{
    mem,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path that is named somewhere: `crate::store::Flows`, `super::model`, `monitor_policy::Spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The module that names it, from the crate's root.
    pub module: Vec<String>,
    /// Its parts as written, those before a `{` or a `*` included.
    pub path: Vec<String>,
    /// The file, and the line in it.
    pub file: PathBuf,
    /// See `file`.
    pub line: usize,
}

/// A module in a file of its own that is still to be read.
struct File {
    path: PathBuf,
    /// Where the files of its modules are.
    folder: PathBuf,
    module: Vec<String>,
}

/// What every module of the crate with this root file names, tests left out.
///
/// # Errors
/// A file can't be read, or is no Rust.
pub fn of_crate(root: &Path) -> Result<Vec<Named>> {
    let folder = root.parent().context("a source file is in no folder")?.to_path_buf();
    let mut files = vec![File { path: root.to_path_buf(), folder, module: Vec::new() }];
    let mut named = Vec::new();
    while let Some(file) = files.pop() {
        let text = std::fs::read_to_string(&file.path).with_context(|| format!("reading {}", file.path.display()))?;
        let (found, modules) = of_file(&text, &file.module).with_context(|| file.path.display().to_string())?;
        named.extend(found.into_iter().map(|named| Named { file: file.path.clone(), ..named }));
        for Module { module, path } in modules {
            files.push(locate(&file, module, path.as_deref())?);
        }
    }
    Ok(named)
}

/// The modules that a root file declares.
///
/// # Errors
/// It can't be read, or is no Rust.
pub fn top_modules(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root).with_context(|| format!("reading {}", root.display()))?;
    let (_, modules) = of_file(&text, &[]).with_context(|| root.display().to_string())?;
    Ok(modules.into_iter().filter_map(|declared| declared.module.into_iter().next()).collect())
}

/// The file of a module that `parent` declares.
fn locate(parent: &File, module: Vec<String>, path: Option<&str>) -> Result<File> {
    let inside = module.get(parent.module.len()..).unwrap_or_default();
    let (name, above) = inside.split_last().context("a module without a name")?;
    let mut folder = parent.folder.clone();
    folder.extend(above);
    if let Some(path) = path {
        // Beside the file that declares it, as far as this workspace uses the attribute.
        let path = parent.path.with_file_name(path);
        return Ok(File { folder: path.parent().unwrap_or(&path).to_path_buf(), path, module });
    }
    let own = folder.join(name);
    let candidates = [folder.join(format!("{name}.rs")), own.join("mod.rs")];
    match candidates.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(File { path, folder: own, module }),
        None => bail!("{} declares `mod {name}`, which has no file", parent.path.display()),
    }
}

/// `mod NAME;`, with what a `#[path]` says.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    module: Vec<String>,
    path: Option<String>,
}

fn of_file(text: &str, module: &[String]) -> Result<(Vec<Named>, Vec<Module>)> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut reader = Reader { module: module.to_vec(), named: Vec::new(), modules: Vec::new() };
    reader.read(tokens);
    Ok((reader.named, reader.modules))
}

struct Reader {
    module: Vec<String>,
    named: Vec<Named>,
    modules: Vec<Module>,
}

impl Reader {
    /// A file's tokens, or those between brackets.
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut attributes = Attributes::default();
        while let Some(token) = tokens.get(at) {
            if let Some((attribute, after)) = attribute(&tokens, at) {
                attributes.add(&attribute);
                at = after;
                continue;
            }
            let Attributes { test, path } = mem::take(&mut attributes);
            if test {
                at = after_item(&tokens, at);
                continue;
            }
            match token {
                TokenTree::Ident(word) if word == "mod" => at = self.module(&tokens, at, path),
                TokenTree::Ident(word) if word == "use" && !is_punct(tokens.get(at + 1), '<') => {
                    at = self.use_tree(&tokens, at + 1, &[]);
                }
                TokenTree::Ident(_) => at = self.path(&tokens, at),
                TokenTree::Group(group) => {
                    self.read(group.stream());
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// At `mod`; gives what comes after it.
    fn module(&mut self, tokens: &[TokenTree], at: usize, path: Option<String>) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { return at + 1 };
        self.module.push(name.to_string());
        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
            self.read(body.stream());
        } else {
            self.modules.push(Module { module: self.module.clone(), path });
        }
        self.module.pop();
        at + 3
    }

    /// At the first of a `use`'s tokens after the keyword or `{`, with what stood before that; gives what comes after
    /// its end.
    fn use_tree(&mut self, tokens: &[TokenTree], mut at: usize, before: &[String]) -> usize {
        let mut path = before.to_vec();
        let mut line = 0;
        loop {
            match tokens.get(at) {
                // What it is called here says nothing.
                Some(TokenTree::Ident(word)) if word == "as" => at += 1,
                Some(TokenTree::Ident(word)) => {
                    line = word.span().start().line;
                    // `{self}` is the path before it.
                    if before.is_empty() || word != "self" {
                        path.push(word.to_string());
                    }
                }
                Some(TokenTree::Group(group)) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    let mut next = 0;
                    while next < inner.len() {
                        next = self.use_tree(&inner, next, &path);
                    }
                    path.clear();
                }
                Some(TokenTree::Punct(punct)) if matches!(punct.as_char(), ',' | ';') => break,
                Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => line = punct.span().start().line,
                Some(_) => {}
                None => break,
            }
            at += 1;
        }
        if !path.is_empty() {
            self.name(path, line);
        }
        at + 1
    }

    /// At a word that may begin a path; gives what comes after it.
    fn path(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        let mut path = Vec::new();
        let mut line = 0;
        while let Some(TokenTree::Ident(word)) = tokens.get(at) {
            if path.is_empty() {
                line = word.span().start().line;
            }
            path.push(word.to_string());
            at += 1;
            if !(is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')) {
                break;
            }
            at += 2;
        }
        if path.len() > 1 {
            self.name(path, line);
        }
        at
    }

    fn name(&mut self, path: Vec<String>, line: usize) {
        self.named.push(Named { module: self.module.clone(), path, file: PathBuf::new(), line });
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// What an item's attributes say of it.
#[derive(Default)]
struct Attributes {
    test: bool,
    path: Option<String>,
}

impl Attributes {
    fn add(&mut self, attribute: &TokenStream) {
        let text: String = attribute.to_string().split_whitespace().collect();
        self.test |= text == "cfg(test)" || text.starts_with("cfg(all(test,") || text == "test";
        if let Some(path) = text.strip_prefix("path=") {
            self.path = Some(path.trim_matches('"').to_owned());
        }
    }
}

/// The attribute at `at`, if there is one, and what comes after it.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<(TokenStream, usize)> {
    if !is_punct(tokens.get(at), '#') {
        return None;
    }
    // `#![…]` is of the file, which is read for what it holds.
    let body = at + 1 + usize::from(is_punct(tokens.get(at + 1), '!'));
    match tokens.get(body) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            let text = if body == at + 1 { group.stream() } else { TokenStream::new() };
            Some((text, body + 1))
        }
        _ => None,
    }
}

/// What comes after the item, field or statement at `at`.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    let mut words = tokens[at..].iter().filter_map(|token| match token {
        TokenTree::Ident(word) if word != "pub" => Some(word.to_string()),
        _ => None,
    });
    let first = words.next().unwrap_or_default();
    let is_constant = first == "const" && words.next().is_some_and(|word| word != "fn" && word != "unsafe");
    let with_body = "async const enum extern fn impl macro_rules mod struct trait union unsafe";
    let has_body = !is_constant && with_body.split(' ').any(|word| word == first);
    let is_item = has_body || is_constant || ["static", "type", "use"].contains(&first.as_str());
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Group(group) if has_body && group.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(punct) if punct.as_char() == ';' || (punct.as_char() == ',' && !is_item) => break,
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{Module, of_crate, of_file};

    /// `MODULE: PATH` for each path in a module's text, of module `a`.
    fn named(text: &str) -> Vec<String> {
        let (named, _) = of_file(text, &["a".to_owned()]).unwrap();
        named.iter().map(|named| format!("{}: {}", named.module.join("::"), named.path.join("::"))).collect()
    }

    #[test]
    fn each_leaf_of_a_use_is_a_path() {
        assert_eq!(named("use crate::store::Flows;"), ["a: crate::store::Flows"]);
        assert_eq!(
            named("pub(crate) use crate::{model::{self, Flow as F}, store::*, text};"),
            ["a: crate::model", "a: crate::model::Flow", "a: crate::store", "a: crate::text"]
        );
        assert_eq!(
            named("use super::*; use ::libc::{c_int, c_void,};"),
            ["a: super", "a: libc::c_int", "a: libc::c_void"]
        );
    }

    #[test]
    fn a_path_is_read_wherever_it_stands() {
        let text =
            "fn f<T: crate::b::T>(x: &super::C) -> Vec<u8> { crate::d::<u8>::e(Vec::<crate::f::G>::new()); h.i() }";
        assert_eq!(named(text), ["a: crate::b::T", "a: super::C", "a: crate::d", "a: crate::f::G"]);
        assert_eq!(named("macro_rules! m { () => { $crate::b::c() } }"), ["a: crate::b::c"]);
    }

    #[test]
    fn comments_strings_and_attributes_name_nothing() {
        assert!(
            named("//! [`crate::b::C`]\n/// crate::d::E\n#[doc = r\"crate::f\"] struct S; // crate::g::H").is_empty()
        );
        assert!(named("const T: &str = \"crate::b::C\"; #[derive(b::C)] struct S<'a>(&'a str);").is_empty());
    }

    #[test]
    fn what_is_for_tests_alone_is_left_out() {
        let tests = "mod t { use crate::b::C; } | mod t; | use crate::b::{C, D}; | pub fn f<A, B>() { crate::b::c() } | \
                     impl crate::b::C for D {} | const C: [crate::b::C; 2] = [C::new(), C { d: 1 }]; | \
                     pub(crate) const fn f() { crate::b::c() }";
        for test in tests.split(" | ") {
            assert_eq!(named(&format!("#[cfg(test)] {test} use crate::e::F;")), ["a: crate::e::F"], "{test}");
        }
        let field = "struct S { #[cfg(test)] one: crate::b::C, two: crate::e::F }";
        assert_eq!(named(field), ["a: crate::e::F"]);
        assert_eq!(named("#[cfg(not(test))] use crate::e::F;"), ["a: crate::e::F"]);
    }

    #[test]
    fn a_module_inside_another_is_part_of_the_place() {
        assert_eq!(
            named("mod b { fn f() { super::super::c::d() } } use self::e::F;"),
            ["a::b: super::super::c::d", "a: self::e::F"]
        );
        let (_, modules) =
            of_file("mod b; mod c { pub mod d; } #[path = \"e/f.rs\"] mod g; #[cfg(test)] mod h;", &[]).unwrap();
        let module = |names: &[&str], path: Option<&str>| Module {
            module: names.iter().map(|&name| name.to_owned()).collect(),
            path: path.map(str::to_owned),
        };
        assert_eq!(modules, [module(&["b"], None), module(&["c", "d"], None), module(&["g"], Some("e/f.rs"))]);
    }

    #[test]
    fn a_crates_files_are_found_from_its_root() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs");
        let named = of_crate(&root).unwrap();
        let here = named.iter().find(|named| named.file.ends_with("lint/paths.rs")).expect("this file is read");
        assert_eq!(here.module, ["lint", "paths"]);
        assert!(here.line > 0);
        assert!(!named.iter().any(|named| named.module.contains(&"tests".to_owned())), "tests are left out");
    }
}
