"""The headers of every answer: what a browser may do with it, and what it may load."""

from __future__ import annotations

# No script and no style stands in a page itself, and nothing comes from another server.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
}
PRIVATE = {**HEADERS, "Cache-Control": "no-store", "Vary": "Accept, Cookie, Authorization"}
STATIC = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
