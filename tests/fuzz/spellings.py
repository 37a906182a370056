"""Paths that one may take for a call and another not."""

SPELLINGS = [
    b"//{}", b"/v1//{}", b"/v1/./{}", b"/v1/x/../{}", b"/v1/{};a=b", b"/v1/{}/", b"/v1/{}//", b"/V1/{}", b"/v1%2f{}",
    b"/%76%31/{}", b"/v1/{}?x=1", b"/v1/{}%2f", b"/v1/{}%3Fx", b"/v1\\{}", b"/v1/{}%00", b"/v1/{}%20", b"/v1/{};/",
    b"/v1/x/%2e%2e/{}", b"/v1/{}#x", b"http://elsewhere/v1/{}", b"/v1/{}%252f", b"/v1/%ff{}", b"/v1/{}%09",
    b"/v1/{}%0d%0ax-a:%20b", b"/openai/v1/{}", b"/v1/{}?/v1/embeddings", b"/v1/{}/../embeddings", b"/v1/{}/%2e%2e/completions",
    b"/v1/{}%23", b"/v1/{}\xc3\xa9", b"/./v1/{}", b"/v1/{}/.", b"/v1/{}/..;/embeddings", b"*", b"{}", b"/v1/{}\x7f",
    b"/v1/models", b"/v1/{}/%2e", b"/v1/;x/{}", b"/v1/{}?model=boundless", b"/v1/{}%253b", b"/v1/%c3%a9/../{}",
]  # fmt: skip
"""`{}` stands for what follows /v1/."""
