"""Redaction: what looks like a secret is replaced before anything is hashed.

Rules find *spans*, ranges of a text to be replaced by ``[redacted:<rule>]``:

* :mod:`~gitsess.redact.formats`: tokens and keys whose own format says what they are;
* :mod:`~gitsess.redact.assignments`: strong values under secret-looking names;
* :mod:`~gitsess.redact.known`: values of secret-looking environment variables, and the user's own patterns.

Redaction is idempotent: nothing inside a marker is matched, and a text is searched again after its spans were
replaced, until nothing more is found. Time is linear in the length of a text.
"""

from __future__ import annotations

from collections.abc import Mapping

from gitsess.redact.redactor import Redactor
from gitsess.redact.spans import Span

__all__ = ["RULES", "Redactor", "Span"]

RULES: Mapping[str, str] = {
    "anthropic-key": "Anthropic API keys and OAuth tokens (sk-ant-…)",
    "aws-access-key": "AWS access key ids (AKIA…, ASIA…)",
    "aws-secret-key": "forty characters of base64 close to an AWS access key id",
    "azure-client-secret": "client secrets of Azure app registrations (…Q~…)",
    "azure-sas": "signatures of Azure shared access URLs (sig=…)",
    "azure-storage-key": "Azure account and shared access keys in connection strings (AccountKey=…)",
    "basic-auth": "base64 of user:password, after Basic or under a secret-looking name",
    "bearer-token": "what follows Bearer, if random",
    "cli-password": "passwords given to curl -u, login -p, mysql -p, redis-cli -a and sshpass -p",
    "custom": "the patterns of ai-session.redact that have no name of their own",
    "digitalocean-token": "DigitalOcean tokens (dop_v1_…, doo_v1_…, dor_v1_…)",
    "discord-token": "Discord bot tokens",
    "discord-webhook": "Discord webhook URLs, their secret part",
    "env-NAME": "the value of the secret-looking environment variable NAME",
    "gcp-api-key": "Google API keys (AIza…)",
    "github-token": "GitHub tokens (ghp_…, gho_…, ghu_…, ghs_…, ghr_…, github_pat_…)",
    "gitlab-token": "GitLab tokens (glpat-…, glrt-…, gldt-… and the like)",
    "google-oauth": "Google OAuth tokens and client secrets (ya29.…, 1//0…, GOCSPX-…)",
    "huggingface-token": "Hugging Face tokens (hf_…)",
    "jwt": "JSON Web Tokens",
    "npm-token": "npm tokens (npm_…)",
    "openai-key": "OpenAI keys and others of that prefix (sk-…, sk-proj-…)",
    "password": "strong values under a password's name: password = …, --password …, PASSWORD=…",
    "private-key": "private keys: PEM, also escaped, quoted, cut off or in base64; PuTTY; JSON Web Keys",
    "pypi-token": "PyPI tokens (pypi-A…)",
    "secret": "random values under a secret-looking name: api_key = …, TOKEN=…, clientSecret: …",
    "sendgrid-key": "SendGrid keys (SG.…)",
    "slack-token": "Slack tokens (xoxb-…, xoxp-…, xapp-… and the like)",
    "slack-webhook": "Slack webhook URLs, their secret part",
    "stripe-key": "Stripe secret, restricted and webhook keys (sk_live_…, rk_live_…, whsec_…)",
    "telegram-token": "Telegram bot tokens",
    "twilio-key": "Twilio API keys (SK…), and auth tokens beside their account",
    "url-password": "passwords and tokens in URLs (scheme://user:password@host)",
    "vault-token": "HashiCorp Vault tokens (hvs.…, hvb.…)",
    "vendor-token": "tokens of other services, by prefix: Shopify, Databricks, Groq, Grafana, Atlassian …",
}
"""Each rule's name and what it finds, for the security page."""
