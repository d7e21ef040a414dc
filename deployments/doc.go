// Package deployments holds no code: its folder has the image, a compose file, Kubernetes manifests, a systemd unit,
// alert rules and a dashboard. Its test reads every one of them and holds it against the program: the names of
// variables, metrics and paths, and what a container may do.
package deployments
