//! Waits for files of a directory to grow, come, go or be replaced, told by the kernel (inotify), never by looking again and again.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::{io, os::fd::AsFd, path::Path};
use tokio::{io::AsyncReadExt, net::unix::pipe};

/// Room for many events at once; what they say does not matter.
const BUFFER: usize = 4096;

/// A watch on a directory and the files in it.
pub struct Follow(pipe::Receiver);

impl Follow {
    /// The directory must exist; the file may be yet to come. Must be called inside a runtime.
    pub fn new(file: &Path) -> io::Result<Follow> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let directory = file.parent().unwrap_or(Path::new("/"));
        // Rotation renames a log and makes a new one; both show on the directory, growth too.
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(directory, flags)?;
        // To the reactor an inotify descriptor is like the reading end of a pipe.
        let fd = inotify.as_fd().try_clone_to_owned()?;
        Ok(Follow(pipe::Receiver::from_owned_fd_unchecked(fd)?))
    }

    /// Resolves after something has changed since the last call. Cancel-safe.
    pub async fn changed(&mut self) -> io::Result<()> {
        let mut events = [0u8; BUFFER];
        self.0.read(&mut events).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, time::Duration};

    #[tokio::test]
    async fn growth_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut follow = Follow::new(&path).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        let limit = Duration::from_secs(10);
        for _ in 0..2 {
            let changed = tokio::time::timeout(limit, follow.changed()).await;
            changed.unwrap().unwrap();
            file.write_all(b"x").unwrap();
        }
    }
}
