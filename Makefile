# make        everything a change must pass; CI runs the same
# make build  ./bin/klined, one static binary
# make release  dist/: archives for Linux and macOS, amd64 and arm64, with checksums; make release-check builds them twice and compares
# make bench  the benchmarks beside the code
# make soak   the window in many cases, faults in many combinations, two hundred kills, clients at full size, half an hour as it is to run for months: two hours, not part of check
# make size   what a store of KLINED_ROWS million rows (10) costs: ten seconds a million and 110 MB of TMPDIR for each

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 3000x
TIMEOUT  := 20m
LINT     := bin/golangci-lint
# The race detector needs a C compiler; where there is none, the tests say so and run without it.
RACE     := $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null && echo -race)

.PHONY: check fmt vet lint test fuzz build release release-check e2e soak size bench clean

# e2e mostly waits for real minutes. Beside it, and behind it in the queue for the processors, runs what only computes.
check: fmt vet lint build
	@nice -n 19 $(MAKE) --no-print-directory test fuzz & computes=$$!; \
	$(MAKE) --no-print-directory e2e; waits=$$?; \
	wait $$computes; computed=$$?; \
	[ $$waits = 0 ] || echo "e2e failed: its FAIL stands above, among what ran beside it"; \
	[ $$computed = 0 ] || echo "test or fuzz failed: see above"; \
	[ $$waits = 0 ] && exit $$computed

fmt:
	@files=$$(find . -name '*.go' -not -path './bin/*' -not -path '*/node_modules/*' | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "not formatted; run gofmt -w on:"; echo "$$files"; exit 1; fi

vet:
	go vet ./...
	go vet -tags e2e ./cmd/klined
	go vet -tags soak ./cmd/klined ./store

lint: $(LINT)
	$(LINT) run ./...

# The linters have a module of their own, so that none of what they need is ours.
$(LINT): tools/go.mod tools/go.sum
	go -C tools build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# go test gives up after TIMEOUT: a slow machine takes longer than its ten minutes.
#
# cmd/klined runs exchange, server and clients in one bubble of fake time. There the race runtime itself aborts now and
# then with more than one processor (tsan_rtl.cpp: kEpochLast): it gets one. Beside it runs what is too long under the race
# detector, without it, and then, with it, the others. What dashboard and alerts ask for is read with Prometheus's own parser,
# in a module of its own.
test:
	@[ -n "$(RACE)" ] || echo "no C compiler here: testing without the race detector"
	go test $(RACE) -timeout $(TIMEOUT) -cpu 1 ./cmd/klined & alone=$$!; \
	go test -timeout $(TIMEOUT) . ./cmd/klined ./store ./bench ./feed ./history ./sim ./binance && \
	go test $(RACE) -timeout $(TIMEOUT) $$(go list ./... | grep -v -e /cmd/klined -e '^klined$$'); others=$$?; \
	wait $$alone && exit $$others
	go -C tools/promql test -count=1 ./...

# Each fuzz target for so many inputs (by time, go test takes its own deadline for a failure now and then); a failing input is
# kept below testdata/fuzz. A package is built once for all of its targets.
fuzz:
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		go test -c -fuzz . -o "$$tmp/fuzz.test" $$dir; \
		for target in $$(cd $$dir && "$$tmp/fuzz.test" -test.list '^Fuzz'); do \
			echo "$$target in $$dir, $(FUZZTIME)"; \
			(cd $$dir && "$$tmp/fuzz.test" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$$tmp/cache"); \
		done; \
	done

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/klined ./cmd/klined

release:
	deploy/release.sh "$(VERSION)" dist

# Once here and once in a copy elsewhere, without version control: the same bytes. Minutes; TARGETS=linux/amd64 is quicker.
release-check:
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	export SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} COMMIT=$${COMMIT:-$$(git rev-parse HEAD)}; \
	mkdir "$$dir/elsewhere"; git ls-files -z | tar --null -T - -cf - | tar -xf - -C "$$dir/elsewhere"; \
	deploy/release.sh "$(VERSION)" "$$dir/one"; \
	(umask 077; "$$dir/elsewhere/deploy/release.sh" "$(VERSION)" "$$dir/two"); \
	diff "$$dir/one/SHA256SUMS" "$$dir/two/SHA256SUMS" && echo "the same bytes, twice"

# The program itself, over real sockets. KLINED_SCREENSHOTS names a folder for pictures of the page.
e2e:
	go test -count=1 -timeout $(TIMEOUT) -tags e2e -run E2E -parallel 12 -v ./cmd/klined

# KLINED_PAIRS trials of two and three faults at once (300), KLINED_KILLS kills (200), KLINED_MINUTES of listings, faults and load (30);
# KLINED_SEED plays one again.
soak:
	go test -count=1 -tags soak -run SoakWindow -timeout 1h -v ./store
	go test -count=1 -tags soak -run Soak -timeout 2h -v ./cmd/klined

size:
	go test -count=1 -tags soak -run SoakSize -timeout 4h -v ./store

bench:
	go test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin dist
