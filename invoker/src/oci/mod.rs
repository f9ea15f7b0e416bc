//! Containers of an OCI runtime (crun or runc) on the host's own userland, mounted read-only: no daemon, no image.
//!
//! The hub passes each container an open listening socket as its standard input; it never sees a directory of the hub's.
//! Containers die with a `destroy`; those of a hub that was killed are found by their control groups and ended by
//! [`OciFactory::sweep`] when a hub opens the same directory.

mod cgroup;
mod container;
mod oom;
mod seccomp;
mod spec;
mod uids;

use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::capture::Capture;
use crate::session::Session;
use crate::{Container, ContainerError, ContainerFactory, ContainerSpec};

use cgroup::Cgroup;
use container::{Leftovers, OciContainer, Remains, SocketDir};
use uids::Uids;

/// How long a container may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// Memory of the container that is made to see whether one can be.
const CHECK_MB: u32 = 128;
/// Where programs are looked for; home directories are not among them.
const PATHS: [&str; 6] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Makes containers with crun or runc.
pub struct OciFactory {
    directory: PathBuf,
    /// `triggerfish-<hash of the directory>`: tells the containers of hubs apart.
    group: String,
    api_host: String,
    number: AtomicU64,
    uids: Arc<Uids>,
    leftovers: Leftovers,
}

impl Drop for OciFactory {
    fn drop(&mut self) {
        Cgroup::remove_hub(&self.group);
    }
}

impl OciFactory {
    /// A factory that keeps its files in `directory`, which is made where it is missing. `api_host` is what actions are
    /// told of the API (`__OW_API_HOST`).
    pub fn new(directory: PathBuf, api_host: &str) -> Result<Self, ContainerError> {
        let failed = |what: &str, error: &std::io::Error| ContainerError::Engine(format!("{what}: {error}"));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|error| failed("the directory of containers", &error))?;
        let directory =
            directory.canonicalize().map_err(|error| failed("the directory of containers", &error))?;
        let id =
            triggerfish_model::ActivationId::derive(&[directory.as_os_str().as_encoded_bytes()]).to_string();
        // A hub that starts again gets the user ids that it had, and so do the containers that it will sweep.
        let wish = id.get(..12).and_then(|hash| u64::from_str_radix(hash, 16).ok()).unwrap_or_default();
        let uids = Uids::claim(wish).map_err(|error| failed("the user ids of containers", &error))?;
        let group = format!("triggerfish-{}", id.get(..12).unwrap_or_default());
        let factory = Self {
            directory,
            group,
            api_host: api_host.to_owned(),
            number: AtomicU64::new(0),
            uids,
            leftovers: Leftovers::default(),
        };
        factory.lay_out().map_err(|error| failed("the root file system of containers", &error))?;
        Ok(factory)
    }

    fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Makes the small root file system that all containers share, read-only.
    fn lay_out(&self) -> std::io::Result<()> {
        let root = self.rootfs();
        let directory = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        for path in ["proc", "dev", "tmp", "etc/ssl/certs", "launcher"] {
            directory(&root.join(path))?;
        }
        for path in spec::READ_ONLY {
            let inside = root.join(path.trim_start_matches('/'));
            match std::fs::read_link(path) {
                Ok(target) if std::fs::symlink_metadata(&inside).is_err() => symlink(target, inside)?,
                Ok(_) => {}
                Err(_) => directory(&inside)?,
            }
        }
        let files: [(&str, &str); 6] = [
            ("launcher/launcher.py", include_str!("../../launchers/launcher.py")),
            ("launcher/launcher.js", include_str!("../../launchers/launcher.js")),
            ("etc/passwd", "root:x:0:0:root:/:/usr/sbin/nologin\n"),
            ("etc/group", "root:x:0:\n"),
            ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
        ];
        for (name, text) in files {
            std::fs::write(root.join(name), text)?;
            std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(0o644))?;
        }
        for name in ["etc/ld.so.cache", "etc/localtime"] {
            let host = Path::new("/").join(name);
            if host.is_file() {
                std::fs::copy(host, root.join(name))?;
            }
        }
        Ok(())
    }

    /// The command that starts `program` of the OCI runtime.
    fn runtime(&self) -> Result<Command, ContainerError> {
        let crun = find("crun").or_else(|| find("runc"));
        let runtime = crun.ok_or_else(|| {
            ContainerError::Engine("neither crun nor runc is installed: apt-get install crun".into())
        })?;
        let mut command = if runtime.ends_with("crun") && cgroup::is_hybrid() {
            // crun refuses a machine that has version 2 mounted beside version 1; hidden from it, all is well.
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-c", "umount /sys/fs/cgroup/unified; exec \"$@\"", "sh"])
                .arg(&runtime);
            command
        } else {
            Command::new(&runtime)
        };
        command.env_clear().env("PATH", PATHS.join(":")).arg("--root").arg(self.directory.join("state"));
        Ok(command)
    }

    /// Writes the specification of a container that runs `args`. From here on whatever fails leaves nothing.
    fn lay_bundle(&self, spec: &ContainerSpec, args: &[String]) -> Result<Bundle, ContainerError> {
        container::remove_again(&self.leftovers);
        let uid = self.uids.lease().ok_or_else(|| {
            ContainerError::Engine("this hub's containers have taken all user ids that it has".into())
        })?;
        let name = format!("{}-{}", spec.name, self.number.fetch_add(1, Ordering::Relaxed));
        let id = format!("{}-{name}", self.group);
        let directory = self.directory.join("bundles").join(&name);
        let cgroup = Cgroup::new(&self.group, &name);
        let env = [
            format!("PATH={}", PATHS.join(":")),
            "HOME=/tmp".into(),
            "LANG=C.UTF-8".into(),
            format!("__OW_API_HOST={}", self.api_host),
        ];
        let config = spec::config(spec, uid.uid(), &self.rootfs(), &cgroup.of_runtime(), args, &env);
        let directories = [directory.clone(), self.directory.join("state").join(&id)];
        let remains = Remains::new(cgroup.clone(), directories, self.leftovers.clone(), uid);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .and_then(|()| std::fs::write(directory.join("config.json"), config.to_string()))
            .map_err(engine("a container's specification"))?;
        Ok(Bundle { id, directory, cgroup, remains })
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<OciContainer, ContainerError> {
        let args = launch(&spec.kind)?;
        let Bundle { id, directory: bundle, cgroup, remains } = self.lay_bundle(spec, &args)?;
        let (listener, socket) = listen(&bundle).map_err(engine("a container's socket"))?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| engine("a pipe")(errno.into()));
        let ((stdout, stdout_end), (stderr, stderr_end)) = (pipe()?, pipe()?);
        let child = self
            .runtime()?
            .arg("run")
            .arg("--bundle")
            .arg(&bundle)
            .arg(&id)
            .stdin(Stdio::from(listener))
            .stdout(Stdio::from(stdout_end))
            .stderr(Stdio::from(stderr_end))
            .kill_on_drop(true)
            .spawn()
            .map_err(engine("the OCI runtime"))?;
        let container = OciContainer {
            session: Session::new(socket.path()),
            capture: Capture::new(stdout, stderr).map_err(engine("a pipe"))?,
            oom_events: OnceLock::new(),
            child: Mutex::new(child),
            remains,
            _socket: socket,
        };
        let ready = tokio::select! {
            never = container.capture.follow() => match never {},
            ready = tokio::time::timeout(READY, container.session.ready()) => match ready {
                Ok(ready) => ready.map_err(|error| error.to_string()),
                Err(_) => Err(format!("not ready within {READY:?}")),
            },
            exit = container.exited() => Err(format!("it ended at once ({exit})")),
        };
        if let Err(why) = ready {
            // The runtime's last words may come a moment after its end.
            let words = container.capture.take(4096, Duration::from_millis(200)).await.lines.join("; ");
            let words = if words.is_empty() { container.capture.text() } else { words };
            container.destroy().await;
            return Err(ContainerError::Engine(format!(
                "a container of `{}` did not start: {why}: {words}",
                spec.kind
            )));
        }
        match cgroup.oom_events() {
            Ok(events) => _ = container.oom_events.set(events),
            Err(error) => tracing::warn!(%error, "that a container runs out of memory will not be told"),
        }
        Ok(container)
    }
}

/// A container that is about to be started.
struct Bundle {
    id: String,
    directory: PathBuf,
    cgroup: Cgroup,
    remains: Remains,
}

fn engine(what: &'static str) -> impl Fn(std::io::Error) -> ContainerError {
    move |error| ContainerError::Engine(format!("{what}: {error}"))
}

/// The launcher's command of a kind.
fn launch(kind: &str) -> Result<Vec<String>, ContainerError> {
    let missing = |program: &str, package: &str| {
        ContainerError::Unsupported(format!("`{kind}` needs {program}: apt-get install {package}"))
    };
    match kind {
        "python:3" | "python:3.10" | "python:3.11" => {
            let python = find("python3").ok_or_else(|| missing("python3", "python3"))?;
            Ok([&*python.to_string_lossy(), "-I", "-S", "-B", "/launcher/launcher.py"]
                .map(str::to_owned)
                .to_vec())
        }
        "nodejs:20" => {
            let node = find("node").ok_or_else(|| missing("node", "nodejs"))?;
            let line = format!("exec {} /launcher/launcher.js 3<&0 </dev/null", node.display());
            Ok(["/bin/sh", "-c", &line].map(str::to_owned).to_vec())
        }
        "blackbox" => Err(ContainerError::Unsupported(
            "`blackbox` actions need Docker, which this hub does not drive yet".into(),
        )),
        _ => Err(ContainerError::Unsupported(format!(
            "actions of kind `{kind}` are kept, but cannot run on this hub yet"
        ))),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    PATHS.iter().map(|path| Path::new(path).join(program)).find(|path| path.is_file())
}

fn listen(directory: &Path) -> std::io::Result<(OwnedFd, SocketDir)> {
    let held = SocketDir::open(directory)?;
    Ok((UnixListener::bind(held.path())?.into(), held))
}

#[async_trait]
impl ContainerFactory for OciFactory {
    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, ContainerError> {
        Ok(Arc::new(self.start(spec).await?))
    }

    async fn sweep(&self) -> Result<u32, ContainerError> {
        let (group, directory) = (self.group.clone(), self.directory.clone());
        let leftovers = self.leftovers.clone();
        let swept = tokio::task::spawn_blocking(move || {
            let names = Cgroup::of_hub(&group);
            for name in &names {
                let cgroup = Cgroup::new(&group, name);
                cgroup.kill();
                if !cgroup.remove() {
                    leftovers.lock().push(cgroup);
                }
            }
            for leftover in ["bundles", "state"] {
                match std::fs::remove_dir_all(directory.join(leftover)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(u32::try_from(names.len()).unwrap_or(u32::MAX))
        });
        let swept =
            swept.await.map_err(|error| ContainerError::Engine(format!("the sweep broke off: {error}")))?;
        swept.map_err(|error| {
            ContainerError::Engine(format!("what a dead hub left cannot be removed: {error}"))
        })
    }

    async fn check(&self) -> Result<(), ContainerError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(ContainerError::Engine("containers need root: start the hub as root".into()));
        }
        self.runtime()?;
        let spec = |kind: &str| ContainerSpec {
            name: format!("check{}", std::process::id()),
            kind: kind.to_owned(),
            memory_mb: CHECK_MB,
            cpu_permille: 1000,
        };
        let kind = ["python:3", "nodejs:20"].into_iter().find(|kind| launch(kind).is_ok());
        let kind = kind.ok_or_else(|| {
            ContainerError::Unsupported(
                "there is no runtime of actions: apt-get install python3 nodejs".into(),
            )
        })?;
        // Namespaces, control groups and mounts are there or not for many reasons: only a container that runs proves it.
        self.start(&spec(kind)).await?.destroy().await;
        Ok(())
    }
}
