//! A pod without containers: a thread in a namespace of its own that answers on TCP 8080 and UDP 5353 with its name, and
//! on TCP 8081 with what it is told.

use kubik::net::{model::Attach, rules::Backend};
use nix::sched::{CloneFlags, setns, unshare};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

/// Long enough for a busy machine; only tests of silence wait for it.
const SILENCE: Duration = Duration::from_millis(700);

pub struct Pod {
    pub name: String,
    pub address: Ipv4Addr,
    pub request: Attach,
    netns: File,
    /// The thread that keeps the namespace ends with this.
    _alive: mpsc::Sender<()>,
}

pub struct Answer {
    pub name: String,
    /// Whom the backend saw.
    pub peer: Ipv4Addr,
}

impl Pod {
    pub fn new(name: &str, attach: impl FnOnce(PathBuf) -> (Attach, Ipv4Addr)) -> Pod {
        let (alive, until) = mpsc::channel::<()>();
        let (ready, path) = mpsc::channel();
        let own_name = name.to_owned();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let tcp = TcpListener::bind("0.0.0.0:8080").unwrap();
            let udp = UdpSocket::bind("0.0.0.0:5353").unwrap();
            serve(&own_name, tcp, udp);
            ready.send(own_netns()).unwrap();
            let _ = until.recv();
        });
        let path = path.recv().unwrap();
        let netns = File::open(&path).unwrap();
        let (request, address) = attach(path);
        Pod {
            name: name.to_owned(),
            address,
            request,
            netns,
            _alive: alive,
        }
    }

    /// The namespace of the calling thread: a client only.
    pub fn host() -> Pod {
        let path = own_netns();
        Pod {
            name: "host".to_owned(),
            address: Ipv4Addr::UNSPECIFIED,
            request: Attach {
                sandbox: String::new(),
                netns: path.clone(),
                range: "0.0.0.0/0".parse().unwrap(),
                address: None,
                host_ports: Vec::new(),
            },
            netns: File::open(path).unwrap(),
            _alive: mpsc::channel().0,
        }
    }

    pub fn backend(&self, port: u16) -> Backend {
        Backend {
            address: self.address,
            port,
        }
    }

    pub fn ask(&self, to: &str) -> Answer {
        self.connect(to)
            .unwrap_or_else(|error| panic!("{} to {to}: {error}", self.name))
    }

    /// Who answered, over so many connections.
    pub fn names(&self, to: &str, connections: usize) -> BTreeSet<String> {
        (0..connections).map(|_| self.ask(to).name).collect()
    }

    pub fn refusal(&self, to: &str) -> String {
        match self.connect(to) {
            Ok(answer) => format!("answered by {}", answer.name),
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    fn connect(&self, to: &str) -> std::io::Result<Answer> {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(move || {
            let mut stream = TcpStream::connect_timeout(&to, SILENCE)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            let (name, peer) = text.split_once(' ').unwrap();
            Ok(Answer {
                name: name.to_owned(),
                peer: peer.parse().unwrap(),
            })
        })
    }

    pub fn udp(&self, to: &str) -> Udp {
        let to: SocketAddr = to.parse().unwrap();
        Udp(self.inside(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(to).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            socket
        }))
    }

    /// A connection to something that answers with what it is told.
    pub fn stream(&self, to: &str) -> Stream {
        let to: SocketAddr = to.parse().unwrap();
        Stream(self.inside(move || TcpStream::connect_timeout(&to, SILENCE).unwrap()))
    }

    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let netns = self.netns.try_clone().unwrap();
        let inside = thread::spawn(move || {
            setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        inside.join().unwrap()
    }
}

pub struct Stream(TcpStream);

impl Stream {
    pub fn echoes(&self, text: &str) -> bool {
        (&self.0).write_all(text.as_bytes()).unwrap();
        self.hears_within(text, SILENCE)
    }

    /// Waits as long as a sender may need to try again.
    pub fn hears(&self, text: &str) -> bool {
        self.hears_within(text, Duration::from_secs(10))
    }

    fn hears_within(&self, text: &str, patience: Duration) -> bool {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut heard = vec![0; text.len()];
        (&self.0).read_exact(&mut heard).is_ok() && heard == text.as_bytes()
    }
}

pub struct Udp(UdpSocket);

impl Udp {
    pub fn is_answered(&self) -> bool {
        self.0.set_read_timeout(Some(SILENCE)).unwrap();
        self.0.send(b"who").unwrap();
        let is_answered = self.0.recv(&mut [0; 64]).is_ok();
        self.0
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        is_answered
    }

    pub fn ask(&self) -> String {
        self.0.send(b"who").unwrap();
        let mut buffer = [0; 64];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}

fn own_netns() -> PathBuf {
    let thread = nix::unistd::gettid();
    PathBuf::from(format!("/proc/{}/task/{thread}/ns/net", std::process::id()))
}

/// The threads end with the test process.
fn serve(name: &str, tcp: TcpListener, udp: UdpSocket) {
    serve_tcp(name, tcp);
    let echo = TcpListener::bind("0.0.0.0:8081").unwrap();
    thread::spawn(move || {
        for mut stream in echo.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&buffer[..length]);
                }
            });
        }
    });
    let udp_name = name.to_owned();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(udp_name.as_bytes(), from);
        }
    });
}

pub fn serve_tcp(name: &str, listener: TcpListener) {
    let name = name.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(&name, stream);
        }
    });
}

fn answer(name: &str, mut stream: TcpStream) {
    if let Ok(SocketAddr::V4(peer)) = stream.peer_addr() {
        let peer = IpAddr::V4(*peer.ip());
        let _ = write!(stream, "{name} {peer}");
    }
}
