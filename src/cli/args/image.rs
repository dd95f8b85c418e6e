//! The words after `kubik image`.

use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;

/// Forms of a list of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Names only, as minikube prints them
    Short,
    #[default]
    #[value(alias = "text")]
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Load images: archives of `docker save`, OCI layouts (`-` is stdin), or names of images that the Docker or Podman
    /// of this machine has
    #[command(
        after_help = "Examples:\n  kubik image load app:1\n  docker save app:1 | kubik image load -"
    )]
    Load {
        #[arg(required = true, value_name = "FILE|IMAGE")]
        files: Vec<PathBuf>,
    },
    /// List images
    #[command(
        visible_alias = "list",
        after_help = "Example:\n  kubik image ls -o json"
    )]
    Ls {
        #[arg(short, long, alias = "format", value_enum, default_value_t)]
        output: ListFormat,
    },
    /// Remove images; running containers keep what they have
    #[command(
        visible_alias = "remove",
        alias = "unload",
        after_help = "Example:\n  kubik image rm nginx:1.25"
    )]
    Rm {
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Pull images from their registries
    #[command(after_help = "Example:\n  kubik image pull nginx:1.25")]
    Pull {
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Write images to an archive for `docker load` or `image load` (`-` is stdout)
    #[command(after_help = "Example:\n  kubik image save nginx:1.25 nginx.tar")]
    Save {
        #[arg(required = true, num_args = 2.., value_name = "IMAGE… FILE")]
        words: Vec<String>,
    },
    /// Give an image a further name
    #[command(after_help = "Example:\n  kubik image tag nginx:1.25 web:stable")]
    Tag {
        #[arg(value_name = "IMAGE")]
        image: String,
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Say how to build an image for this cluster (kubik has no builder)
    #[command(after_help = "Example:\n  kubik image build -t app:1 .")]
    Build {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        words: Vec<String>,
    },
    /// Say how to push an image from this cluster
    #[command(hide = true)]
    Push {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        words: Vec<String>,
    },
}
