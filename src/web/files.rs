//! The page's files as they are in the binary. They are built from `page/` and committed, so that building the agent
//! needs nothing else. Not here: how they are served (`routes`).

/// One file of the page.
#[derive(Debug)]
pub(super) struct File {
    /// Where it is asked for.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub mime: &'static str,
    pub bytes: &'static [u8],
}

/// All of them.
pub(super) const FILES: &[File] = &[
    File { path: "/", mime: "text/html; charset=utf-8", bytes: include_bytes!("page/dist/index.html") },
    File {
        path: "/app.js",
        mime: "text/javascript; charset=utf-8",
        bytes: include_bytes!("page/dist/app.js"),
    },
    File { path: "/app.css", mime: "text/css; charset=utf-8", bytes: include_bytes!("page/dist/app.css") },
    File { path: "/icon.svg", mime: "image/svg+xml", bytes: include_bytes!("page/dist/icon.svg") },
    File {
        path: "/licenses.txt",
        mime: "text/plain; charset=utf-8",
        bytes: include_bytes!("page/dist/licenses.txt"),
    },
];
