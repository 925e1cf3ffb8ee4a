//! The loaded objects of another process, or of a core, by what is mapped.

use crate::{
    elf::Elf,
    memory::{Fd, Memory},
    modules::{Module, ModulePath, Modules},
    names,
};

/// A mapping of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// Where it begins in its file.
    pub offset: u64,
    /// Whether its bytes may be executed.
    pub executable: bool,
    /// Whether they may be written to.
    pub writable: bool,
    /// Its file, or a name in brackets; empty for plain memory.
    pub path: Vec<u8>,
}

impl Mapping {
    /// Reads a line of `/proc/PID/maps`.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line;
        let mut word = || {
            let end = rest.iter().position(|&byte| byte == b' ');
            let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind.trim_ascii_start();
            str::from_utf8(word).ok()
        };
        let (start, end) = word()?.split_once('-')?;
        let rights = word()?.as_bytes();
        let offset = word()?;
        word()?; // device
        word()?; // inode
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let path = rest.strip_suffix(b" (deleted)").unwrap_or(rest);
        Some(Self {
            start: hex(start)?,
            end: hex(end)?,
            offset: hex(offset)?,
            executable: rights.get(2) == Some(&b'x'),
            writable: rights.get(1) == Some(&b'w'),
            path: path.to_vec(),
        })
    }
}

/// The objects, found once: what is loaded later is not among them.
pub struct Objects {
    objects: Vec<Object>,
}

struct Object {
    module: Module,
    name: Vec<u8>,
    open: Vec<u8>,
}

impl Objects {
    /// Finds the objects among `mappings`. Their files are below `root`, as
    /// [`crate::process::ProcessMemory::root`] says; empty for this system's.
    pub fn new<M: Memory>(
        memory: &M,
        mappings: &[Mapping],
        root: &str,
    ) -> Self {
        let mut objects: Vec<Object> = Vec::new();
        for mapping in mappings.iter().filter(|m| m.offset == 0) {
            let seen = |o: &Object| o.module.end > mapping.start;
            if objects.last().is_some_and(seen) {
                continue;
            }
            if let Some(object) = object(memory, mappings, mapping, root) {
                objects.push(object);
            }
        }
        Self { objects }
    }

    /// All of them, by address.
    pub fn all(&self) -> impl Iterator<Item = &Module> {
        self.objects.iter().map(|object| &object.module)
    }

    /// The path by which an object was loaded.
    #[must_use]
    pub fn name(&self, module: &Module) -> &[u8] {
        self.at(module.start).map_or(&[], |object| &object.name)
    }

    fn at(&self, pc: u64) -> Option<&Object> {
        let end = self.objects.partition_point(|o| o.module.start <= pc);
        let last = self.objects.get(end.checked_sub(1)?)?;
        (pc < last.module.end).then_some(last)
    }
}

impl Modules for Objects {
    fn find(&self, pc: u64) -> Option<Module> {
        self.at(pc).map(|object| object.module)
    }

    fn path<'a>(
        &'a self,
        module: &Module,
        _to: &'a mut [u8],
    ) -> Option<ModulePath<'a>> {
        let object = self.at(module.start)?;
        Some(ModulePath { name: &object.name, open: &object.open })
    }
}

/// The object that begins with a mapping, if one does.
fn object<M: Memory>(
    memory: &M,
    mappings: &[Mapping],
    first: &Mapping,
    root: &str,
) -> Option<Object> {
    let path = &first.path;
    let elf = Elf::new(memory, first.start)?;
    let bias = elf.bias()?;
    let mut module = Module {
        bias,
        start: first.start,
        end: first.start,
        ..Module::default()
    };
    let mut runs = false;
    for segment in elf.segments() {
        let at = bias.wrapping_add(segment.address);
        match segment.kind {
            libc::PT_LOAD => {
                let end = at.wrapping_add(segment.in_memory);
                module.end = module.end.max(end);
                // A file that is mapped as a whole is not loaded.
                let has = |m: &&Mapping| (m.start..m.end).contains(&at);
                let there = mappings.iter().find(has);
                runs |= there.is_some_and(|m| m.executable && m.path == *path);
            }
            libc::PT_GNU_EH_FRAME => module.eh_frame_hdr = at,
            _ => {}
        }
    }
    if !runs {
        return None;
    }
    let open = match path.first() {
        Some(b'/') => [root.as_bytes(), path].concat(),
        _ => Vec::new(),
    };
    if module.eh_frame_hdr == 0 {
        module.eh_frame = eh_frame(&open, bias).unwrap_or(0);
    }
    Some(Object { module, name: path.clone(), open })
}

fn eh_frame(path: &[u8], bias: u64) -> Option<u64> {
    let file: Fd = names::open(path)?;
    let section = Elf::new(&file, 0)?.section(b".eh_frame")?;
    Some(bias.wrapping_add(section.address))
}
