//! How many processors this process may use: its affinity mask, and the quota
//! of its control groups, version 1 and 2.
//!
//! What cannot be read limits nothing.

use super::{errno::KeepErrno, own::text};
use std::path::{Path, PathBuf};

/// The number of processors that this process may run on, at least 1.
pub(crate) fn getproccount() -> usize {
    let _keep = KeepErrno::new();
    // As many as most kernels know; no heap for them.
    let mut mask = [0; 16];
    let count = affinity_count(&mut mask).or_else(|| {
        // This one knows more, and may have that many.
        affinity_count(&mut vec![0; LARGEST / 64])
    });
    count.unwrap_or(1).max(1)
}

/// Processors that a kernel may know, and more.
const LARGEST: usize = 1 << 16;

/// How many processors the affinity mask allows, if `mask` has room for it.
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

/// As many of `n` processors as the quota of this process is worth.
pub(crate) fn within_quota(n: usize) -> usize {
    if n == 1 {
        return n;
    }
    let _keep = KeepErrno::new();
    cgroup_quota(Path::new("/")).map_or(n, |quota| n.min(quota))
}

/// The least quota of the process's control groups and their ancestors, in
/// whole processors, rounded up. `root` is where `/proc` and the rest lie.
fn cgroup_quota(root: &Path) -> Option<usize> {
    let groups = text(&root.join("proc/self/cgroup"))?;
    let groups: Vec<_> = groups.lines().filter_map(Group::parse).collect();
    if groups.is_empty() {
        return None;
    }
    let mounts = text(&root.join("proc/self/mountinfo"))?;
    let mounts: Vec<_> = mounts.lines().filter_map(Mount::parse).collect();
    groups
        .iter()
        .filter_map(|group| {
            let mount = mounts.iter().find(|m| m.version == group.version)?;
            least_quota(root, mount, group)
        })
        .min()
}

/// The least quota from `group` up to the top of `mount`.
fn least_quota(root: &Path, mount: &Mount, group: &Group) -> Option<usize> {
    let top = root.join(mount.point.strip_prefix("/").ok()?);
    // A container may see the hierarchy from its own group down: the part of
    // the path above the mount's root is not there. A group outside of what is
    // mounted has limits that cannot be seen, but for those of the top.
    let below = group.path.strip_prefix(&mount.root);
    let below = below.unwrap_or(Path::new(""));
    below
        .ancestors()
        .filter_map(|dir| group.version.quota(&top.join(dir)))
        .min()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    V1,
    V2,
}

impl Version {
    /// The quota of the one group whose files are in `dir`.
    fn quota(self, dir: &Path) -> Option<usize> {
        let read = |name| text(&dir.join(name));
        match self {
            Version::V2 => {
                let max = read("cpu.max")?;
                let (quota, period) = max.trim().split_once(' ')?;
                processors(quota, period)
            }
            Version::V1 => processors(
                read("cpu.cfs_quota_us")?.trim(),
                read("cpu.cfs_period_us")?.trim(),
            ),
        }
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
struct Mount {
    version: Version,
    /// The group that is seen at `point`.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// From a line of `/proc/self/mountinfo`: `id parent dev root point
    /// options [tags] - type source superoptions`.
    fn parse(line: &str) -> Option<Self> {
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
        Some(Self {
            version,
            root: unescape(mount.next()?),
            point: unescape(mount.next()?),
        })
    }
}

/// A path as mountinfo writes it: blanks and backslashes as three octal digits
/// behind a backslash.
fn unescape(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
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
    path.into()
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
            cgroup_quota(&self.0)
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
        assert_eq!(cgroup_quota(Path::new("/nonexistent")), None);
    }

    #[test]
    fn octal_escapes_are_undone() {
        let path = unescape("/a\\040b\\134\\x\\0");
        assert_eq!(path, Path::new("/a b\\\\x\\0"));
    }

    #[test]
    fn this_machine_has_processors() {
        let n = getproccount();
        assert!((1..=n).contains(&within_quota(n)));
        assert_eq!(affinity_count(&mut vec![0; LARGEST / 64]), Some(n));
        assert_eq!(affinity_count(&mut []), None);
    }
}
