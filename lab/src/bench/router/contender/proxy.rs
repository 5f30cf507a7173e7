//! Proxies: two connections for each one of the client's, in a process.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Router;
use crate::bench::router::program::{Missing, Program};
use crate::bench::router::service::Service;
use crate::bench::router::setting::{Setting, Target};

/// The file of nginx's module, in the folder that nginx was built with.
const STREAM_MODULE: &str = "ngx_stream_module.so";

/// A proxy that runs.
struct Proxy(Service);

impl Router for Proxy {
    fn target(&self) -> Target {
        Target::SERVICE
    }

    fn processor_time(&self) -> anyhow::Result<Option<Duration>> {
        self.0.processor_time().map(Some)
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        self.0.stop()
    }
}

pub(super) fn haproxy_obstacle(_setting: &Setting) -> anyhow::Result<Option<String>> {
    Ok(Program::HAPROXY.missing().map(|missing| missing.to_string()))
}

pub(super) fn start_haproxy(setting: &Setting) -> anyhow::Result<Box<dyn Router + '_>> {
    let config = setting.folder.write("haproxy.conf", &haproxy_config())?;
    let mut haproxy = Program::HAPROXY.command(&setting.router)?;
    // In the foreground.
    haproxy.args(["-db", "-f"]).arg(config);
    start(setting, Service::start("haproxy", haproxy, "", &setting.folder)?)
}

pub(super) fn nginx_obstacle(_setting: &Setting) -> anyhow::Result<Option<String>> {
    let no_module = Missing { what: "nginx's stream module", package: "libnginx-mod-stream" };
    let missing = Program::NGINX.missing().or_else(|| stream_module().is_none().then_some(no_module));
    Ok(missing.map(|missing| missing.to_string()))
}

pub(super) fn start_nginx(setting: &Setting) -> anyhow::Result<Box<dyn Router + '_>> {
    let folder = setting.folder.path();
    let module = stream_module().unwrap_or_default();
    let config = setting.folder.write("stream.conf", &nginx_config(&module, &folder.display().to_string()))?;
    let mut nginx = Program::NGINX.command(&setting.router)?;
    nginx.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(config);
    start(setting, Service::start_with_workers("nginx-stream", nginx, "", &setting.folder)?)
}

fn start(setting: &Setting, mut proxy: Service) -> anyhow::Result<Box<dyn Router + '_>> {
    proxy.await_ready(|| Ok(setting.router.run(|| TcpStream::connect(Target::SERVICE.web))?.is_ok()))?;
    Ok(Box::new(Proxy(proxy)))
}

/// A thread on each core, which is its default; payload is spliced by the kernel where that is worth it.
fn haproxy_config() -> String {
    let (from, to) = (Target::SERVICE, Target::SERVER);
    format!(
        "global\n    maxconn 4096\n\
         defaults\n    mode tcp\n    timeout client 1h\n    timeout server 1h\n    timeout connect 5s\n    \
         option splice-auto\n\
         listen web\n    bind {}\n    server server {}\n\
         listen bulk\n    bind {}\n    server server {}\n",
        from.web, to.web, from.bulk, to.bulk
    )
}

/// A process on each core, with a buffer that carries bulk better than the default of 16 KiB.
fn nginx_config(load_module: &str, folder: &str) -> String {
    let (from, to) = (Target::SERVICE, Target::SERVER);
    format!(
        "{load_module}daemon off;\nuser root;\nworker_processes auto;\npid {folder}/stream.pid;\n\
         error_log stderr error;\nevents {{ worker_connections 4096; }}\n\
         stream {{\n\
         proxy_buffer_size 64k;\n\
         server {{ listen {} reuseport backlog=4096; proxy_pass {}; proxy_timeout 1h; }}\n\
         server {{ listen {} reuseport backlog=4096; proxy_pass {}; proxy_timeout 1h; }}\n\
         }}\n",
        from.web, to.web, from.bulk, to.bulk
    )
}

/// The line of the config that loads the module, empty if it is part of nginx; `None` if there is no module.
fn stream_module() -> Option<String> {
    let output = Command::new(Program::NGINX.path()?).arg("-V").output().ok()?;
    load_module(&String::from_utf8_lossy(&output.stderr), |file| file.is_file())
}

fn load_module(built_with: &str, is_file: impl Fn(&Path) -> bool) -> Option<String> {
    let mut options = built_with.split_whitespace();
    if options.any(|option| option == "--with-stream") {
        return Some(String::new());
    }
    let folder = built_with.split_whitespace().find_map(|option| option.strip_prefix("--modules-path="))?;
    let file = Path::new(folder).join(STREAM_MODULE);
    is_file(&file).then(|| format!("load_module {};\n", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_module_is_a_file_or_a_part_of_nginx() {
        let debian = "nginx version: nginx/1.22.1\nconfigure arguments: --modules-path=/usr/lib/nginx/modules \
                      --with-stream=dynamic --with-stream_ssl_module";
        let line = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n";
        assert_eq!(load_module(debian, |_| true).as_deref(), Some(line));
        assert_eq!(load_module(debian, |_| false), None);
        assert_eq!(load_module("configure arguments: --with-stream --with-threads", |_| false).as_deref(), Some(""));
        assert_eq!(load_module("configure arguments: --with-threads", |_| true), None);
    }
}
