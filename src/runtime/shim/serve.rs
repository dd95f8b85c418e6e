//! The shim's loop: one thread, one `poll` over the socket, its clients, its processes and their streams.
//!
//! Requests are carried out one after the other, each to its end; libcontainer allows nothing else. Between events
//! the process sleeps in `poll` without a timeout.

use super::{
    client::{Client, Role},
    container::{Container, Pod},
    exec,
    protocol::{self, Failure, NewContainer, Reply, Request},
    stdio::{Want, set_nonblocking},
};
use crate::runtime::{
    cgroup,
    model::{ContainerState, SandboxInfo, SandboxSpec},
    sys,
};
use jiff::Timestamp;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
};
use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
};

pub struct Shim {
    pub dir: PathBuf,
    pub spec: SandboxSpec,
    pub pause: super::sandbox::Pause,
    pub created_at: Timestamp,
    pub alive: bool,
    pub containers: Vec<Container>,
    pub listener: UnixListener,
    pub clients: Vec<Client>,
    pub execs: Vec<Exec>,
    /// Numbers clients, so that an exec can name its own.
    pub last_client: u64,
    pub leaving: bool,
}

pub struct Exec {
    pid: i32,
    fd: OwnedFd,
    client: u64,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Listener,
    Pause,
    Client(usize),
    Init,
    Exec,
    Stream(usize, Want),
}

impl Shim {
    /// Until [`Request::Shutdown`].
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            for (token, events) in ready {
                match token {
                    Token::Listener => self.accept(),
                    Token::Client(index) => self.client_ready(index, events),
                    Token::Stream(index, want) => self.containers[index].stdio.ready(want, events),
                    Token::Pause | Token::Init | Token::Exec => {}
                }
            }
            self.reap();
            for index in 0..self.clients.len() {
                self.serve(index);
            }
            self.release_attached();
            for client in &mut self.clients {
                client.flush();
            }
            self.clients.retain(|client| !client.gone);
            for container in &mut self.containers {
                container.stdio.forget_gone();
            }
            if self.leaving && self.clients.iter().all(|client| client.output.is_empty()) {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Token, PollFlags)>> {
        let mut tokens = vec![Token::Listener];
        let mut fds = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let mut add = |token, fd| {
            tokens.push(token);
            fds.push(fd);
        };
        if self.alive {
            add(
                Token::Pause,
                PollFd::new(self.pause.fd.as_fd(), PollFlags::POLLIN),
            );
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut events = PollFlags::POLLIN;
            events.set(PollFlags::POLLOUT, !client.output.is_empty());
            add(
                Token::Client(index),
                PollFd::new(client.stream.as_fd(), events),
            );
        }
        for exec in &self.execs {
            add(Token::Exec, PollFd::new(exec.fd.as_fd(), PollFlags::POLLIN));
        }
        for (index, container) in self.containers.iter().enumerate() {
            if let Some((_, fd)) = &container.init {
                add(Token::Init, PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            }
            for (want, fd) in container.stdio.wants() {
                add(Token::Stream(index, want), fd);
            }
        }
        match poll(&mut fds, PollTimeout::NONE) {
            // A child that is in none of our tables has ended.
            Err(Errno::EINTR) => return Ok(Vec::new()),
            other => other?,
        };
        let events = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(tokens
            .into_iter()
            .zip(events)
            .filter(|(_, events)| !events.is_empty())
            .collect())
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        if set_nonblocking(stream.as_fd()).is_ok() {
            self.last_client += 1;
            self.clients.push(Client::new(self.last_client, stream));
        }
    }

    fn client_ready(&mut self, index: usize, events: PollFlags) {
        let client = &mut self.clients[index];
        if events.contains(PollFlags::POLLOUT) {
            client.flush();
        }
        if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            client.receive();
        }
    }

    /// Looks at every child that has ended, known or an orphan.
    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else {
                return;
            };
            self.ended(pid.as_raw(), status);
        }
    }

    fn ended(&mut self, pid: i32, status: WaitStatus) {
        if pid == self.pause.pid {
            self.alive = false;
            self.tell_subscribers(&Reply::SandboxDied);
            return;
        }
        if let Some(index) = self.execs.iter().position(|exec| exec.pid == pid) {
            let exec = self.execs.swap_remove(index);
            let code = exit_code(status);
            if let Some(client) = self
                .clients
                .iter_mut()
                .find(|client| client.number == exec.client)
            {
                client.reply(&Reply::Exited { code });
            }
            return;
        }
        let is_init = |container: &&mut Container| {
            container
                .init
                .as_ref()
                .is_some_and(|(init, _)| *init == pid)
        };
        let Some(container) = self.containers.iter_mut().find(is_init) else {
            return;
        };
        if let Err(error) = container.reaped(status) {
            complain(&format!(
                "record the exit of {}: {error}",
                container.info.name
            ));
        }
        let container = Box::new(container.info.clone());
        self.tell_subscribers(&Reply::Event { container });
        sys::trim_heap();
    }

    fn tell_subscribers(&mut self, reply: &Reply) {
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.role == Role::Subscriber)
        {
            client.reply(reply);
        }
    }

    /// Attached clients hear of the end once they have everything that was said before it.
    fn release_attached(&mut self) {
        for container in &mut self.containers {
            let ContainerState::Exited(exit) = &container.info.state else {
                continue;
            };
            if container.stdio.release_clients() {
                let role = Role::Attached(container.info.id.clone());
                for client in self.clients.iter_mut().filter(|client| client.role == role) {
                    client.role = Role::Asking;
                    client.reply(&Reply::Exited { code: exit.code });
                }
            }
        }
    }

    fn serve(&mut self, index: usize) {
        loop {
            let client = &mut self.clients[index];
            let request = match protocol::decode::<Request>(&mut client.input) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(error) => {
                    complain(&format!("a client speaks nonsense: {error}"));
                    client.gone = true;
                    return;
                }
            };
            let fds = std::mem::take(&mut client.fds);
            match self.answer(index, request, fds) {
                Ok(Some(reply)) => self.clients[index].reply(&reply),
                Ok(None) => {}
                Err(failure) => self.clients[index].reply(&Reply::Failed { failure }),
            }
        }
    }

    /// `None` when the answer has been sent, or none is due.
    fn answer(
        &mut self,
        client: usize,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Reply>, Failure> {
        match request {
            Request::Info => Ok(Some(Reply::Sandbox {
                sandbox: Box::new(self.info()),
            })),
            Request::Create { container } => self.create(&container).map(Some),
            Request::Start { container } => {
                let index = self.find(&container)?;
                let started = self.containers[index].start();
                sys::trim_heap();
                if started.is_err() {
                    let container = Box::new(self.containers[index].info.clone());
                    self.tell_subscribers(&Reply::Event { container });
                }
                started?;
                Ok(Some(self.describe(index)))
            }
            Request::Signal { container, signal } => {
                let index = self.find(&container)?;
                self.containers[index].signal(signal)?;
                Ok(Some(Reply::Done))
            }
            Request::Remove { container } => self.remove(&container).map(Some),
            Request::Exec { container, process } => {
                let index = self.find(&container)?;
                let running = self.containers[index].exec(&process, fds)?;
                self.exec_started(client, running);
                Ok(None)
            }
            Request::Attach { container, stdin } => {
                let index = self.find(&container)?;
                let mut fds = fds.into_iter();
                let input = if stdin { fds.next() } else { None };
                let container = &mut self.containers[index];
                container.stdio.attach(input, fds.next(), fds.next())?;
                self.clients[client].role = Role::Attached(container.info.id.clone());
                Ok(Some(Reply::Started))
            }
            Request::Resize {
                container,
                columns,
                rows,
            } => {
                let index = self.find(&container)?;
                self.containers[index].stdio.resize(columns, rows);
                Ok(Some(Reply::Done))
            }
            Request::Kill => {
                let number = self.clients[client].number;
                for exec in self.execs.iter().filter(|exec| exec.client == number) {
                    let pid = nix::unistd::Pid::from_raw(exec.pid);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
                }
                Ok(None)
            }
            Request::Subscribe => {
                self.clients[client].role = Role::Subscriber;
                Ok(Some(Reply::Sandbox {
                    sandbox: Box::new(self.info()),
                }))
            }
            Request::Shutdown => {
                cgroup::host().kill_all(&self.spec.cgroup)?;
                self.leaving = true;
                Ok(Some(Reply::Done))
            }
        }
    }

    fn exec_started(&mut self, client: usize, running: exec::Running) {
        let client = &mut self.clients[client];
        client.role = Role::Exec;
        self.execs.push(Exec {
            pid: running.pid,
            fd: running.fd,
            client: client.number,
        });
        client.reply_with(&Reply::Started, running.terminal.as_ref());
    }

    fn create(&mut self, new: &NewContainer) -> Result<Reply, Failure> {
        let same = |container: &Container| {
            container.info.name == new.spec.name && container.info.attempt == new.spec.attempt
        };
        if let Some(index) = self.containers.iter().position(same) {
            return Ok(self.describe(index));
        }
        let target = match &new.spec.target_container {
            Some(name) => Some(self.running(name)?),
            None => None,
        };
        let pod = Pod {
            spec: &self.spec,
            dir: &self.dir,
            pause: self.pause.pid,
        };
        let made = Container::create(&pod, new, target);
        sys::trim_heap();
        self.containers.push(made?);
        Ok(self.describe(self.containers.len() - 1))
    }

    fn running(&self, name: &str) -> Result<i32, Failure> {
        let named = self
            .containers
            .iter()
            .rev()
            .filter(|container| container.info.name == name);
        let pid = named
            .into_iter()
            .find_map(|container| container.init.as_ref().map(|(pid, _)| *pid));
        pid.ok_or_else(|| Failure::NotFound(format!("a running container {name}")))
    }

    fn remove(&mut self, id: &str) -> Result<Reply, Failure> {
        let Ok(index) = self.find(id) else {
            return Ok(Reply::Done);
        };
        let container = &mut self.containers[index];
        if let Some((pid, _)) = &container.init {
            let pid = *pid;
            container.signal(libc::SIGKILL)?;
            let status = waitpid(nix::unistd::Pid::from_raw(pid), None)?;
            self.ended(pid, status);
        }
        self.containers[index].remove()?;
        self.containers.remove(index);
        sys::trim_heap();
        Ok(Reply::Done)
    }

    fn find(&self, id: &str) -> Result<usize, Failure> {
        let position = self
            .containers
            .iter()
            .position(|container| container.info.id == id);
        position.ok_or_else(|| Failure::NotFound(format!("container {id}")))
    }

    fn describe(&self, index: usize) -> Reply {
        Reply::Container {
            container: Box::new(self.containers[index].info.clone()),
        }
    }

    pub fn info(&self) -> SandboxInfo {
        let netns = if self.spec.host_network {
            PathBuf::new()
        } else {
            format!("/proc/{}/ns/net", self.pause.pid).into()
        };
        SandboxInfo {
            id: self.spec.id.clone(),
            pid: self.pause.pid,
            netns,
            created_at: self.created_at,
            alive: self.alive,
            labels: self.spec.labels.clone(),
            containers: self
                .containers
                .iter()
                .map(|container| container.info.clone())
                .collect(),
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    match status {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        _ => -1,
    }
}

/// Standard error is a file in the sandbox's run directory.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
