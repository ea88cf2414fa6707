#!/bin/sh
# deploy/release.sh VERSION DIR: what is released, into DIR: an archive for each system and processor, and SHA256SUMS. The bytes
# depend on nothing but the sources, VERSION, COMMIT and SOURCE_DATE_EPOCH (the last commit and its time) and the versions of Go, GNU
# tar and gzip.
# TARGETS names other systems than all of them: "linux/amd64".
set -eu
version=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
commit=${COMMIT-$(git rev-parse HEAD)}
export CGO_ENABLED=0 GOFLAGS= GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= GOWORK=off LC_ALL=C
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f "$out"/klined-*.tar.gz "$out/SHA256SUMS"
for target in ${TARGETS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}; do
	name=klined-$version-$(echo "$target" | tr / -)
	mkdir "$work/$name"
	# Version and commit are stamped by hand: version control is not everywhere where this is built.
	GOOS=${target%/*} GOARCH=${target#*/} go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version -X main.builtFrom=$commit" -o "$work/$name/klined" ./cmd/klined
	cp -R README.md LICENSE SECURITY.md METRICS.md deploy "$work/$name"
	tar --format=ustar --sort=name --mtime="@$when" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$work" -cf - "$name" |
		gzip -9n > "$out/$name.tar.gz"
	echo "$out/$name.tar.gz"
done
cd "$out"
sha256sum klined-*.tar.gz > SHA256SUMS
