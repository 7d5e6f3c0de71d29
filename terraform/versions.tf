terraform {
  # 1.11 is the first release with write-only arguments: a generated password goes to AWS and never into the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

provider "aws" {
  region = var.aws_region

  default_tags {
    tags = local.tags
  }
}

# The same again, for the modules that draw secrets. Terraform's tests can mock no provider that opens ephemeral values
# (1.11), so what draws them is apart, and all else is mocked.
provider "aws" {
  alias  = "secrets"
  region = var.aws_region

  default_tags {
    tags = local.tags
  }
}

locals {
  tags = merge({
    Product     = "amplify-chat"
    Deployment  = var.deployment_name
    Environment = var.environment
    ManagedBy   = "terraform"
  }, var.tags)
}
