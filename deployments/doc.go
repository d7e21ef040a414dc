// Package deployments holds no code, only the image, compose files, Kubernetes manifests, a systemd
// unit, alert rules and a dashboard. Its tests read each of them, compare the names of variables,
// metrics and paths with the program, and check what a container may do.
package deployments
