//! How many processors this process may use, by its affinity mask and by the
//! quota of its control groups, version 1 and 2.
//!
//! A limit that cannot be read is no limit, but want of memory is an error.

use super::errno::{Errno, KeepErrno, Result};
use super::own::read_all;
use std::path::{Path, PathBuf};

/// The number of processors that this process may run on, at least 1.
pub(crate) fn getproccount() -> usize {
    let _keep = KeepErrno::new();
    // 1024 processors, enough for most kernels, without the heap.
    let mut mask = [0; 16];
    let count = affinity_count(&mut mask).or_else(|| {
        // This kernel is built for more processors.
        let mut mask = Vec::new();
        mask.try_reserve_exact(LARGEST / 64).ok()?;
        mask.resize(LARGEST / 64, 0);
        affinity_count(&mut mask)
    });
    count.unwrap_or(1).max(1)
}

/// More processors than any kernel is built for.
const LARGEST: usize = 1 << 16;

/// How many processors the affinity mask allows; None if `mask` is too small.
fn affinity_count(mask: &mut [u64]) -> Option<usize> {
    // SAFETY: the length is that of mask, in bytes; 0 is this thread.
    let bytes = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            size_of_val(mask),
            mask.as_mut_ptr(),
        )
    };
    (bytes > 0).then(|| mask.iter().map(|w| w.count_ones() as usize).sum())
}

/// `n` processors, or fewer if the quota of this process is smaller.
///
/// `ENOMEM`.
pub(crate) fn within_quota(n: usize) -> Result<usize> {
    if n == 1 {
        return Ok(n);
    }
    let _keep = KeepErrno::new();
    let quota = cgroup_quota(Path::new("/"))?;
    Ok(quota.map_or(n, |quota| n.min(quota)))
}

/// The contents of a file, if it can be read.
fn read(path: &Path) -> Result<Option<String>> {
    match read_all(path) {
        Ok(text) => Ok(String::from_utf8(text).ok()),
        Err(Errno::ENOMEM) => Err(Errno::ENOMEM),
        Err(_) => Ok(None),
    }
}

fn join(dir: &Path, file: impl AsRef<Path>) -> Result<PathBuf> {
    let file = file.as_ref();
    let mut path = PathBuf::new();
    let len = dir.as_os_str().len() + 1 + file.as_os_str().len();
    path.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    path.push(dir);
    path.push(file);
    Ok(path)
}

/// The smaller of the limits that are known.
fn least(
    quotas: impl Iterator<Item = Result<Option<usize>>>,
) -> Result<Option<usize>> {
    let mut least = None;
    for quota in quotas {
        least = match (least, quota?) {
            (Some(a), Some(b)) => Some(b.min(a)),
            (a, b) => a.or(b),
        };
    }
    Ok(least)
}

/// The least quota of the process's control groups and their ancestors, in
/// whole processors, rounded up. `root` stands for `/`.
fn cgroup_quota(root: &Path) -> Result<Option<usize>> {
    let groups = read(&join(root, "proc/self/cgroup")?)?;
    let groups = groups.as_deref().unwrap_or("").lines();
    let mut groups = groups.filter_map(Group::parse).peekable();
    if groups.peek().is_none() {
        return Ok(None);
    }
    let mounts = read(&join(root, "proc/self/mountinfo")?)?;
    let mounts = mounts.as_deref().unwrap_or("");
    least(groups.map(|group| {
        let mut mounts = mounts.lines().filter_map(Mount::parse);
        match mounts.find(|m| m.version == group.version) {
            Some(mount) => least_quota(root, &mount, &group),
            None => Ok(None),
        }
    }))
}

/// The least quota from `group` up to the top of `mount`.
fn least_quota(
    root: &Path,
    mount: &Mount,
    group: &Group,
) -> Result<Option<usize>> {
    let (point, mounted) = (unescape(mount.point)?, unescape(mount.root)?);
    let Ok(point) = point.strip_prefix("/") else { return Ok(None) };
    let top = join(root, point)?;
    // A container may see the hierarchy only from its own group down, without
    // the path above the mount's root. If the group lies outside the mount,
    // only the limits of the top can be seen.
    let below = group.path.strip_prefix(&mounted);
    let below = below.unwrap_or(Path::new(""));
    least(below.ancestors().map(|dir| group.version.quota(&join(&top, dir)?)))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// The quota of the one group whose files are in `dir`.
    fn quota(self, dir: &Path) -> Result<Option<usize>> {
        let read = |name: &str| read(&join(dir, name)?);
        Ok(match self {
            Version::V2 => read("cpu.max")?.and_then(|max| {
                let (quota, period) = max.trim().split_once(' ')?;
                processors(quota, period)
            }),
            Version::V1 => {
                let quota = read("cpu.cfs_quota_us")?;
                let period = read("cpu.cfs_period_us")?;
                let both = quota.zip(period);
                both.and_then(|(q, p)| processors(q.trim(), p.trim()))
            }
        })
    }
}

/// `quota` microseconds in each `period`, as processors. None for `max` and
/// -1, which stand for no limit.
fn processors(quota: &str, period: &str) -> Option<usize> {
    let quota: u64 = quota.parse().ok()?;
    let period: u64 = period.parse().ok().filter(|p| *p > 0)?;
    usize::try_from(quota.div_ceil(period).max(1)).ok()
}

/// A group that this process is in and that may limit its processor time.
#[derive(PartialEq, Eq, Debug)]
struct Group<'a> {
    version: Version,
    /// From the root of the hierarchy.
    path: &'a Path,
}

impl<'a> Group<'a> {
    /// From a line of `/proc/self/cgroup`: `id:controllers:path`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let id = fields.next()?;
        let controllers = fields.next()?;
        let version = match controllers {
            "" if id == "0" => Version::V2,
            c if c.split(',').any(|c| c == "cpu") => Version::V1,
            _ => return None,
        };
        Some(Self { version, path: Path::new(fields.next()?) })
    }
}

/// Where a hierarchy of groups is mounted.
#[derive(PartialEq, Eq, Debug)]
struct Mount<'a> {
    version: Version,
    /// The group whose files are at `point`; escaped, as `point` is.
    root: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    /// From a line of `/proc/self/mountinfo`: `id parent dev root point
    /// options [tags] - type source superoptions`.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let version = match filesystem.next()? {
            "cgroup2" => Version::V2,
            "cgroup" if filesystem.nth(1)?.split(',').any(|o| o == "cpu") => {
                Version::V1
            }
            _ => return None,
        };
        let mut mount = mount.split(' ').skip(3);
        Some(Self { version, root: mount.next()?, point: mount.next()? })
    }
}

/// Decodes a path of mountinfo, where a blank or backslash is a backslash and
/// three octal digits.
fn unescape(text: &str) -> Result<PathBuf> {
    let mut parts = text.split('\\');
    let mut path = String::new();
    // Each byte becomes two bytes at most.
    path.try_reserve_exact(2 * text.len()).map_err(|_| Errno::ENOMEM)?;
    path.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let octal = part.get(..3);
        match octal.and_then(|o| u8::from_str_radix(o, 8).ok()) {
            Some(byte) => {
                path.push(char::from(byte));
                path.push_str(&part[3..]);
            }
            None => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory that stands for `/`, removed at drop.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, cgroup: &str, mountinfo: &str) -> Self {
            let dir = format!("gmprt-cpu-{name}-{}", std::process::id());
            let root = Self(std::env::temp_dir().join(dir));
            root.file("proc/self/cgroup", cgroup);
            root.file("proc/self/mountinfo", mountinfo);
            root
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn quota(&self) -> Option<usize> {
            cgroup_quota(&self.0).unwrap()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const V2_MOUNT: &str = "\
22 28 0:20 / /proc rw,nosuid - proc proc rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn quotas_round_up_and_are_at_least_one() {
        assert_eq!(processors("150000", "100000"), Some(2));
        assert_eq!(processors("200000", "100000"), Some(2));
        assert_eq!(processors("1000", "100000"), Some(1));
        assert_eq!(processors("0", "100000"), Some(1));
        assert_eq!(processors("max", "100000"), None);
        assert_eq!(processors("-1", "100000"), None);
        assert_eq!(processors("100000", "0"), None);
    }

    #[test]
    fn v2_takes_the_least_of_the_group_and_its_ancestors() {
        let root = Root::new("v2", "0::/a.slice/b c/d\n", V2_MOUNT);
        assert_eq!(root.quota(), None);
        let group = "sys/fs/cgroup/a.slice/b c/d/cpu.max";
        root.file(group, "800000 100000\n");
        assert_eq!(root.quota(), Some(8));
        root.file("sys/fs/cgroup/a.slice/b c/cpu.max", "250000 100000\n");
        assert_eq!(root.quota(), Some(3));
        root.file("sys/fs/cgroup/a.slice/cpu.max", "max 100000\n");
        assert_eq!(root.quota(), Some(3));
        root.file("sys/fs/cgroup/cpu.max", "50000 100000\n");
        assert_eq!(root.quota(), Some(1));
    }

    #[test]
    fn v1_uses_the_hierarchy_with_the_cpu_controller() {
        let root = Root::new(
            "v1",
            "5:memory:/m\n4:cpu,cpuacct:/docker/x/y\n0::/u\n",
            "\
36 35 0:31 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
37 35 0:32 /docker/x /cg\\040cpu ro master:7 - cgroup cgroup rw,cpu,cpuacct
",
        );
        root.file("cg cpu/y/cpu.cfs_quota_us", "-1\n");
        root.file("cg cpu/y/cpu.cfs_period_us", "100000\n");
        assert_eq!(root.quota(), None);
        root.file("cg cpu/cpu.cfs_quota_us", "410000\n");
        root.file("cg cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(root.quota(), Some(5));
    }

    #[test]
    fn a_group_outside_of_the_mount_has_the_limit_of_its_top() {
        let mount = V2_MOUNT.replace("0:30 / ", "0:30 /pod/inner ");
        let root = Root::new("outside", "0::/elsewhere\n", &mount);
        root.file("sys/fs/cgroup/cpu.max", "300000 100000\n");
        assert_eq!(root.quota(), Some(3));
    }

    #[test]
    fn nonsense_limits_nothing() {
        let bad = Root::new("bad", "x\n1:cpu\n0::\n::/\n", "- - -\ncgroup2\n");
        assert_eq!(bad.quota(), None);
        bad.file("proc/self/mountinfo", V2_MOUNT);
        bad.file("sys/fs/cgroup/cpu.max", "many\n");
        assert_eq!(bad.quota(), None);
        assert_eq!(cgroup_quota(Path::new("/nonexistent")), Ok(None));
    }

    #[test]
    fn octal_escapes_are_undone() {
        let path = unescape("/a\\040b\\134\\x\\0");
        assert_eq!(path.unwrap(), Path::new("/a b\\\\x\\0"));
    }

    #[test]
    fn this_machine_has_processors() {
        let n = getproccount();
        assert!((1..=n).contains(&within_quota(n).unwrap()));
        assert_eq!(affinity_count(&mut vec![0; LARGEST / 64]), Some(n));
        assert_eq!(affinity_count(&mut []), None);
    }
}
