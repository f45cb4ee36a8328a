# syntax=docker/dockerfile:1

# A static binary in an image without a shell, a package manager or root. Base images are pinned by tag, so that a
# rebuild takes their security fixes.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
# The modules first: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=unknown COMMIT=unknown DATE=unknown
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT -X main.date=$DATE" \
    -o /out/sallyport ./cmd/sallyport
# Deployments of envoyproxy/ratelimit run /bin/ratelimit: a link to the binary, which stands in for it under that name.
RUN mkdir /out/bin && ln -s /usr/local/bin/sallyport /out/bin/ratelimit

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/sallyport /usr/local/bin/sallyport
COPY --from=build /out/bin/ /bin/
# The number and not the name: Kubernetes checks runAsNonRoot against it.
USER 65532:65532
# ext_authz 9191 and its admin port 9190; RLS 8081 and its admin port 6070; in place of envoyproxy/ratelimit also HTTP 8080.
EXPOSE 9191 9190 8081 6070 8080
ENTRYPOINT ["/usr/local/bin/sallyport"]
