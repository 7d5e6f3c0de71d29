# Plans one of the examples beside it:
#   terraform test -test-directory=examples -var-file=examples/small.tfvars

mock_provider "aws" {
  source = "./tests/mocks"
}

provider "aws" {
  alias                       = "secrets"
  region                      = "us-east-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

# Terraform 1.11 cannot mock what draws secrets, so an example that has them made gets some here.
variables {
  secret_key_secret_arn    = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf"
  metrics_token_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-AbCdEf"
  database_url_secret_arn  = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
}

run "plans" {
  command = plan

  assert {
    condition     = output.ecs_service_name == "amplify-${var.deployment_name}-chat-${var.environment}"
    error_message = "An example plans into a service of its name."
  }
}
