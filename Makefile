# Everything is done by make: CI runs only these targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

include tools.mk

FUNCTIONS := $(notdir $(patsubst %/,%,$(wildcard functions/*/)))
MODULES   := shared test test/e2e test/platforms triggers deploy deploy/local $(addprefix functions/,$(FUNCTIONS))
EVERYTHING := $(addprefix ./,$(addsuffix /...,$(MODULES)))
PATTERNS  := $(addprefix ./,$(addsuffix /...,$(filter-out test/e2e test/platforms,$(MODULES))))
BINARIES  := $(addprefix dist/bin/,$(FUNCTIONS))
VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOFLAGS_RELEASE := -trimpath -buildvcs=false -ldflags='-s -w -X github.com/riposte-dev/riposte/shared/serve.version=$(VERSION)' -tags lambda.norpc
export CGO_ENABLED := 0

##@ Use it

.PHONY: run
run: ## Run everything on this machine and open a page; ARGS=--once for a script; KUBECONFIG=... for your own cluster, dry run.
	@mkdir -p dist/bin
	@go build -o dist/bin/local ./deploy/local
	@exec dist/bin/local $(ARGS)

.PHONY: cluster
cluster: ## Start the control plane with its nodes alone, in the foreground, and print KUBECONFIG.
	@mkdir -p dist/bin
	@go build -o dist/bin/cluster ./test/cluster/cmd/cluster
	@exec dist/bin/cluster up $(ARGS)

.PHONY: build
build: $(BINARIES) ## Build a binary for each function into dist/bin.

# The Go toolchain knows best whether a binary is up to date.
.PHONY: $(BINARIES)
$(BINARIES): dist/bin/%:
	@mkdir -p dist/bin
	go build $(GOFLAGS_RELEASE) -o $@ ./functions/$*/cmd

.PHONY: simulate
simulate: ## Say which functions alerts would reach: make simulate ALERTS=alert.json [TRIGGERS=folder] [ARGS=-expect=delete-pod].
	@mkdir -p dist/bin
	@go build -o dist/bin/simulate ./deploy/local/simulate
	@dist/bin/simulate -triggers $(or $(TRIGGERS),triggers) $(ARGS) $(or $(ALERTS),-)

.PHONY: doctor
doctor: ## Send a canary through the whole path and time each hop: make doctor TO=URL ARGS=-as=router.
	@mkdir -p dist/bin
	@go build -o dist/bin/doctor ./deploy/local/doctor/cmd
	@dist/bin/doctor -to '$(TO)' $(ARGS)

##@ Deploy it

# What it reads of the environment: FUNCTION PLATFORM WITH OVERLAY REGISTRY TAG ARCH DRY_RUN WAIT PLAN PRO PARAMETERS.
.PHONY: deploy
deploy: dist/tools/images ## Deploy: PLATFORM=knative|openfaas|lambda [FUNCTION=name,name] [REGISTRY=host/path] [DRY_RUN=false] [PLAN=1]; docs/deploy.md.
	@go build -o dist/bin/deploy ./deploy/cmd/deploy
	@VERSION='$(VERSION)' REVISION='$(shell git rev-parse HEAD 2>/dev/null)' dist/bin/deploy

.PHONY: undeploy
undeploy: ## Take it away again: PLATFORM=... [FUNCTION=name,name] [PLAN=1].
	@mkdir -p dist/bin
	@go build -o dist/bin/deploy ./deploy/cmd/deploy
	@VERSION='$(VERSION)' dist/bin/deploy -undeploy

.PHONY: stage
stage: ## Copy functions into self-contained folders, .stage/func/NAME and .stage/openfaas/NAME; FUNCTION=name PLATFORM=func for one.
	@go run ./deploy/cmd/stage $(if $(PLATFORM),-platform $(PLATFORM)) $(FUNCTION)

# Pushed with the credentials of docker login. deploy/images says more.
IMAGES := dist/tools/images -version '$(VERSION)' -revision '$(shell git rev-parse HEAD 2>/dev/null)'
.PHONY: images
images: dist/tools/images ## Build images with ko into dist/images, or REGISTRY=host/path; FUNCTION=name TAG=... ARCH=linux/amd64,linux/arm64.
	@$(IMAGES) $(if $(REGISTRY),-registry $(REGISTRY)) $(if $(TAG),-tag $(TAG)) $(if $(ARCH),-platforms $(ARCH)) $(FUNCTION)

dist/tools/images: $(wildcard deploy/images/*.go deploy/images/go.*)
	@mkdir -p $(@D)
	cd deploy/images && GOWORK=off go build -o $(CURDIR)/$@ .

# The real Helm, for the tests of the chart.
dist/tools/helm: test/helm/go.mod
	@mkdir -p $(@D)
	@# Helm's own Makefile says in this way which Kubernetes it is for.
	cd test/helm && GOWORK=off go build -o $(CURDIR)/$@ -ldflags="-s -w $$(for p in chartutil lint/rules; do \
		echo "-X helm.sh/helm/v3/pkg/$$p.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$$p.k8sVersionMinor=35"; done | xargs)" helm.sh/helm/v3/cmd/helm
	@touch $@

.PHONY: lambda
lambda: ## Build zips for AWS Lambda into dist/lambda; FUNCTION=name ARCH=arm64|amd64.
	@go run ./deploy/cmd/lambda -version '$(VERSION)' $(if $(ARCH),-arch $(ARCH)) $(FUNCTION)

##@ Work on it

.PHONY: test
test: dist/tools/controlplane dist/tools/versitygw build ## Run all tests, on a real API server.
	@go build -o dist/bin/cluster ./test/cluster/cmd/cluster
	dist/bin/cluster run -- go test $(TESTFLAGS) $(PATTERNS)
	@$(MAKE) --no-print-directory browser

.PHONY: e2e
e2e: dist/tools/controlplane build dist/bin/knative ## Follow alerts through Knative Eventing's real control and data plane.
	@go build -o dist/bin/cluster ./test/cluster/cmd/cluster
	dist/bin/cluster run -- go test -count=1 $(TESTFLAGS) ./test/e2e/...

.PHONY: e2e-node
e2e-node: dist/bin/isolate dist/bin/release dist/bin/delete-pod dist/bin/collect-evidence ## Prove isolation on a real node, with real containers and enforced NetworkPolicies; needs root.
	@go build -o dist/bin/e2e-node ./test/e2e-node/cmd/e2e-node
	@go build -trimpath -ldflags='-s -w' -o dist/bin/peer ./test/e2e-node/cmd/peer
	@go test -c -tags e2enode -o dist/bin/e2e-node.test ./test/e2e-node
	dist/bin/e2e-node test dist/bin/e2e-node.test $(ARGS)

.PHONY: platforms
platforms: dist/tools/controlplane dist/tools/images dist/tools/helm build ## Build and run every function as Knative Functions, OpenFaaS, AWS Lambda and ko do.
	@go build -o dist/bin/cluster ./test/cluster/cmd/cluster
	@# In its own folder, so that go test shows what it measured.
	cd test/platforms && ../../dist/bin/cluster run -- go test -count=1 -timeout 30m $(TESTFLAGS) $(ARGS)

.PHONY: dist/bin/knative
dist/bin/knative:
	@mkdir -p dist/bin
	@go build -o $@ ./test/e2e/cmd/knative

.PHONY: browser
browser: ## Test the page in headless Chromium; screenshots go to dist/screenshots.
	deploy/local/browser/run.sh

.PHONY: check
check: lint generated ## Check format, lint, vet, generated files and layout; no cluster.
	@# Go's cache of results does not see that documents and settings have changed.
	go test -count=1 $(TESTFLAGS) ./test/layout/...

.PHONY: lint
lint: $(GOLANGCI_LINT)
	go vet $(EVERYTHING)
	$(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml $(EVERYTHING)
	@set -e; for f in $(FUNCTIONS); do (cd functions/$$f && go vet -tags lambda.norpc ./cmd); done
	@echo lint deploy/images; cd deploy/images && GOWORK=off $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...
	@# The control plane's main is formatted here; to vet it would compile all of Kubernetes.
	@cd test/cluster/controlplane && GOWORK=off $(GOLANGCI_LINT) fmt --diff --config $(CURDIR)/.golangci.yml

.PHONY: generate
generate: build ## Write what is generated: manifests, parameter tables in READMEs, docs/reasons.md.
	go run ./deploy/cmd/generate
	go run ./test/generate

.PHONY: generated
generated: build
	go run ./deploy/cmd/generate --check
	go run ./test/generate --check

.PHONY: fuzz
fuzz: ## Fuzz what reads from strangers, each target for FUZZ_TIME.
	@for target in $$(grep -rlE '^func Fuzz' --include=*_test.go shared functions triggers deploy/local); do \
		for name in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$target | cut -d' ' -f2); do \
			echo "fuzz $$(dirname $$target) $$name"; go test -run '^$$' -fuzz "^$$name$$" -fuzzminimizetime 10x -fuzztime $(or $(FUZZ_TIME),30s) ./$$(dirname $$target); done; done

.PHONY: prove
prove: dist/tools/controlplane dist/tools/images dist/tools/helm build dist/bin/knative ## Back each claim of the README with a measured row; SET=main-job for one set.
	@go build -o dist/bin/cluster ./test/cluster/cmd/cluster
	@go build -o dist/bin/local ./deploy/local
	@go test -c -o dist/bin/router.test ./functions/router
	@go test -tags prove -c -o dist/bin/prove ./test/prove
	@cd test/prove && ../../dist/bin/cluster run -- ../../dist/bin/prove $(if $(SET),-set $(SET))

.PHONY: bench
bench: bench-binary ## Measure everything against its floor, and write docs/benchmarks.md; SET=warm for what begins so, SAMPLES=300.
	@cd test/bench && ../../dist/bin/cluster run -- ../../dist/bin/bench -test.timeout 60m -set '$(SET)' $(if $(SAMPLES),-samples $(SAMPLES))
	@go run ./test/generate

.PHONY: bench-check
bench-check: bench-binary ## Measure again, and fail where a ratio is worse than what docs/benchmarks.md has by more than chance.
	@cd test/bench && ../../dist/bin/cluster run -- ../../dist/bin/bench -test.timeout 60m -check -set '$(SET)' $(if $(SAMPLES),-samples $(SAMPLES))

.PHONY: bench-binary
bench-binary: dist/tools/controlplane build
	@go build -o dist/bin/cluster ./test/cluster/cmd/cluster
	@go test -tags bench -c -o dist/bin/bench ./test/bench

.PHONY: new
new: ## Start a function: make new FUNCTION=name.
	go run ./test/new $(FUNCTION)

.PHONY: tidy
tidy: ## go mod tidy for every module.
	scripts/tidy.sh

.PHONY: format
format: $(GOLANGCI_LINT) ## Format the code.
	@set -e; for m in $(MODULES) test/cluster/controlplane; do (cd $$m && $(GOLANGCI_LINT) fmt --config $(CURDIR)/.golangci.yml ./...); done

.PHONY: clean
clean: ## Remove what was built.
	rm -rf dist .stage

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A real S3 server, for the tests of what is stored.
dist/tools/versitygw: test/s3server/go.mod
	cd test/s3server && GOWORK=off go build -trimpath -ldflags='-s -w' -o $(CURDIR)/$@ github.com/versity/versitygw/cmd/versitygw
	@touch $@

dist/tools/controlplane: test/cluster/controlplane/main.go test/cluster/controlplane/go.mod
	@go build -o dist/bin/cluster ./test/cluster/cmd/cluster
	dist/bin/cluster build
	@touch $@
