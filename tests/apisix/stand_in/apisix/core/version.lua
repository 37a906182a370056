-- The version that is played.

return { VERSION = stands and stands.apisix_version or "3.18.0" }
